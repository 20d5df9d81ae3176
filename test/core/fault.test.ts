import { describe, expect, it } from 'vitest'
import { HoldfastError, PermanentError } from '../../src/core/errors.ts'
import { firstInChain, hasNetworkCode, saysOutage, whoseFault } from '../../src/core/fault.ts'
import { faultTable } from './fault-table.ts'

const coded = (code: string, cause?: unknown) => Object.assign(new Error('failed', { cause }), { code })

describe('whose fault a failure is', () => {
  it.each(faultTable)('%s', (_, error, fault) => {
    for (const otherwise of ['message', 'infrastructure'] as const)
      expect(whoseFault(error, otherwise)).toBe(fault ?? otherwise)
  })

  it('is a dependency`s where a handler could not connect, and infrastructure`s where a store could not', () => {
    const error = new TypeError('fetch failed', { cause: coded('ECONNREFUSED') })
    expect(whoseFault(error, 'message')).toBe('dependency')
    expect(whoseFault(error, 'infrastructure')).toBe('infrastructure')
  })
})

describe('an error that says by itself that a server did not answer', () => {
  const status = (status: number) => Object.assign(new Error('no'), { status })
  it.each<[what: string, error: unknown, outage: boolean]>([
    ...['ECONNREFUSED', 'EHOSTUNREACH', 'UND_ERR_SOCKET'].map((code): [string, unknown, boolean] => [
      code,
      coded(code),
      true,
    ]),
    ...[401, 403, 408, 429, 500, 503].map((code): [string, unknown, boolean] => [`HTTP ${code}`, status(code), true]),
    ...[400, 404, 409, 422].map((code): [string, unknown, boolean] => [`HTTP ${code}`, status(code), false]),
    ['a time-out', new DOMException('late', 'TimeoutError'), true],
    ['its cause', new TypeError('fetch failed', { cause: coded('ECONNRESET') }), true],
    ['a store that is not there', new HoldfastError('unavailable', 'no'), true],
    ['a verdict on a lost connection', new PermanentError('never', { cause: coded('ECONNRESET') }), false],
    ['any other error', new Error('no'), false],
  ])('%s', (_, error, outage) => {
    expect(saysOutage(error)).toBe(outage)
  })
})

describe('the chain of an error', () => {
  it('is followed wherever clients keep what they wrap', () => {
    for (const name of ['cause', 'driverError', 'meta', 'driverAdapterError'])
      expect(hasNetworkCode(Object.assign(new Error('wrapped'), { [name]: coded('EPIPE') }))).toBe(true)
  })

  it('ends where it leads back to itself, or cannot be read', () => {
    const round = coded('OTHER')
    round.cause = round
    expect(hasNetworkCode(round)).toBe(false)
    const trap = {
      get cause() {
        throw new Error('trap')
      },
    }
    expect(firstInChain(trap, () => undefined)).toBeUndefined()
  })
})
