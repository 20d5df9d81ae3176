import { describe, expect, it } from 'vitest'
import { PermanentError } from '../../src/core/errors.ts'
import { headersFrom } from '../../src/core/message.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import type { Outgoing } from '../../src/core/publisher.ts'
import {
  generationOf,
  redrivenFrom,
  redriveHeader,
  redriveText,
  redriveToHeader,
  redriveToText,
} from '../../src/core/redrive.ts'
import { deadLetter } from '../../src/dead-letter/dead-letter.ts'
import { readDeadLetter } from '../../src/dead-letter/envelope.ts'
import type { DeadLetterStore, ResolvedLetter } from '../../src/dead-letter/store.ts'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { keyFromHeader } from '../../src/idempotency/key.ts'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { watch } from '../support/watch.ts'

function service({ name = 'billing', resolved }: { name?: string; resolved?: DeadLetterStore['resolved'] } = {}) {
  const state = { broken: false, runs: 0 }
  const letters: Outgoing[] = []
  const told: ResolvedLetter[] = []
  const clock = fakeClock()
  const to: DeadLetterStore = {
    publish: (messages) => Promise.resolve(void letters.push(...messages)),
    resolved: resolved ?? ((which) => Promise.resolve(void told.push(...which))),
  }
  const orders = pipeline(name)
    .use(deadLetter({ to, clock, host: 'here', version: '1' }))
    .use(idempotency({ store: memoryIdempotencyStore({ clock }), clock }))
    .handle(() => {
      state.runs++
      if (state.broken) throw Object.assign(new TypeError('a bug'), { code: 'E42' })
    })
  const send = (headers: readonly (readonly [string, string])[] = [], id = 'm1') =>
    orders.dispatch({
      message: { id, key: 'k', body: Buffer.from('{}'), headers: headersFrom(headers) },
      origin: { destination: 'orders' },
    })
  return { state, letters, told, clock, orders, send }
}

const redriven = (generation: number) => [redriveHeader, redriveText({ generation, destination: 'orders' })] as const

describe('a redriven message', () => {
  it('runs again though it failed for good, and the store of the letter is told once it is handled', async () => {
    const { state, letters, told, send } = service()
    state.broken = true
    expect(await send()).toBe('dead-lettered')
    expect(await send()).toBe('dead-lettered')
    state.broken = false
    expect(await send()).toBe('dead-lettered')
    expect(state.runs).toBe(1)
    expect(await send([redriven(5)])).toBe('handled')
    const letter = { pipeline: 'billing', destination: 'orders', id: 'm1', key: 'k', body: Buffer.from('{}') }
    expect(told).toEqual([{ ...letter, generation: 5 }])
    expect(await send([redriven(5)])).toBe('duplicate')
    expect(told).toHaveLength(2)
    expect(letters).toHaveLength(3)
  })

  it('tells nobody where it fails again, where it waits, or where it is no redrive', async () => {
    const { state, told, send, letters } = service()
    expect(await send()).toBe('handled')
    state.broken = true
    expect(await send([redriven(5)], 'm2')).toBe('dead-lettered')
    expect(told).toEqual([])
    expect(letters[0]?.headers[redriveHeader]).toBe('5;orders')
  })

  it('is acked although its store cannot be told, or does not answer', async () => {
    const failures = watch('store-failed')
    const failing = service({ resolved: () => Promise.reject(new Error('down')) })
    expect(await failing.send([redriven(5)])).toBe('handled')
    expect(failures).toMatchObject([{ store: 'dead-letter', operation: 'resolve' }])
    const silent = service({ resolved: () => new Promise(() => {}) })
    const outcome = silent.send([redriven(5)])
    await silent.clock.advance(2000)
    expect(await outcome).toBe('handled')
  })

  it('D-7 is discarded by a pipeline that it is not for, and only where the header is of this very message', async () => {
    const to = redriveToText('shipping', 'orders', 'm1')
    const billing = service()
    expect(await billing.send([redriven(5), [redriveToHeader, to]])).toBe('discarded')
    expect(billing.state.runs).toBe(0)
    const shipping = service({ name: 'shipping' })
    expect(await shipping.send([redriven(5), [redriveToHeader, to]])).toBe('handled')
    // An event that took the headers over from the message that caused it.
    expect(await billing.send([redriven(5), [redriveToHeader, to]], 'm2')).toBe('handled')
    expect(await billing.send([redriven(5), [redriveToHeader, 'nonsense']], 'm3')).toBe('handled')
  })

  it('reads nothing out of a header in another form', () => {
    for (const text of ['', '5', ';orders', '0;orders', '-5;orders', '1e3;orders', '1234567890123456;orders', '5;'])
      expect(generationOf(headersFrom([[redriveHeader, text]])), text).toBe(0)
    expect(redrivenFrom(headersFrom([[redriveHeader, '999999999999999;a;b\n']]))).toEqual({
      generation: 999_999_999_999_999,
      destination: 'a;b\n',
    })
  })
})

describe('the claim behind a dead letter', () => {
  it('stands in its metadata with the code of the error, at the first death and at the next', async () => {
    const { state, letters, send } = service()
    state.broken = true
    await send()
    await send()
    for (const letter of letters)
      expect(readDeadLetter(letter)?.metadata).toMatchObject({
        claimScope: 'billing',
        claimKey: 'm1',
        errorCode: 'E42',
        history: [{ errorName: 'TypeError', errorMessage: 'a bug', host: 'here', version: '1' }],
      })
    expect(letters).toHaveLength(2)
  })

  it('is of the right message where one error object is thrown for many, and missing where there was none', async () => {
    const letters: Outgoing[] = []
    const shared = new PermanentError('always the same')
    const step = pipeline('p')
      .use(deadLetter({ to: { publish: (messages) => Promise.resolve(void letters.push(...messages)) } }))
      .use(idempotency({ store: memoryIdempotencyStore(), scope: 's', key: keyFromHeader('key') }))
      .handle(() => Promise.reject(shared))
    await step.dispatch({ message: { id: 'a', body: null, headers: headersFrom([['key', '1']]) } })
    await step.dispatch({ message: { id: 'b', body: null, headers: headersFrom([]) } })
    expect(letters.map((letter) => readDeadLetter(letter)?.metadata.claimKey)).toEqual(['1', null])
  })
})
