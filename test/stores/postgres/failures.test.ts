import { describe, expect, it } from 'vitest'
import { failureFromJson, failureToJson } from '../../../src/stores/failure-json.ts'
import { explained, looksDisconnected, mayBeOneRow, sqlFault, sqlState } from '../../../src/stores/postgres/failures.ts'
import { withLiterals } from '../../../src/stores/postgres/runners.ts'

const coded = (code: string, cause?: unknown) => Object.assign(new Error('failed', { cause }), { code })

describe('what a client rejects with', () => {
  it('is told by its SQLSTATE, however deep it is wrapped', () => {
    expect(sqlState(coded('40001'))).toBe('40001')
    expect(sqlState(new Error('Failed query', { cause: coded('23505') }))).toBe('23505')
    for (const error of [coded('ECONNRESET'), coded('EPIPE'), new Error('x'), undefined, 'text', { code: 40001 }])
      expect(sqlState(error)).toBeUndefined()
  })

  it('is an outage where the server says so, or the connection broke', () => {
    for (const error of [
      coded('ECONNRESET'),
      coded('EPIPE'),
      coded('CONNECTION_CLOSED'),
      new Error('Connection terminated unexpectedly'),
      new Error('wrapped', { cause: new Error('Client has encountered a connection error and is not queryable') }),
    ])
      expect(looksDisconnected(error)).toBe(true)
    expect(looksDisconnected(new Error('no such customer'))).toBe(false)
  })

  // One row a case: whose fault each SQLSTATE is. Changing one is a decision.
  it.each([
    ...['25006', '53000', '53100', '53200', '53300', '53400', '57P02', '57P03', '57P04'].map((c) => [
      c,
      'infrastructure',
    ]),
    ...['58000', '58030', '58P01'].map((code) => [code, 'infrastructure']),
    ...['08000', '08003', '08006', '08P01', '25P03', '25P04', '57P01', '57P05'].map((code) => [code, 'session']),
    ...['22021', '22P05', '54000'].map((code) => [code, 'refused']),
    ...['40001', '40P01', '55P03'].map((code) => [code, 'contention']),
    ...['42P01', '3F000', '42703', '42501'].map((code) => [code, 'setup']),
    ...['57014', '23505', '22P02', '25P02', '40003', 'P0001', 'XX000', '54001'].map((code) => [code, 'message']),
    ...['P1001', 'P1002', 'P1008', 'P1017'].map((code) => [code, 'session']),
    ['P2024', 'infrastructure'],
    ['P2034', 'contention'],
  ])('%s is a fault of: %s', (code, fault) => {
    expect(sqlFault(coded(code))).toBe(fault)
    expect(sqlFault(new Error('wrapped', { cause: coded(code) }))).toBe(fault)
  })

  it('has no SQLSTATE in the codes of others, and the one that Prisma passes on', () => {
    for (const code of ['P1017', 'P2010', 'EPIPE', 'EPERM', 'EBUSY', 'ERR_X'])
      expect(sqlState(coded(code))).toBeUndefined()
    expect(sqlFault(coded('P2002'))).toBeUndefined()
    expect(sqlState(Object.assign(new Error('Raw query failed'), { code: 'P2010', meta: { code: '40P01' } }))).toBe(
      '40P01',
    )
    expect(sqlState(Object.assign(new Error('QueryFailedError'), { driverError: coded('53100') }))).toBe('53100')
  })

  it('is nothing where reading it throws', () => {
    const trap = new Proxy(new Error('x'), {
      get: () => {
        throw new Error('trap')
      },
    })
    expect([sqlFault(trap), sqlState(trap), looksDisconnected(trap)]).toEqual([undefined, undefined, false])
  })

  it('may be one row`s where it is about data or a lock', () => {
    for (const code of ['55P03', '22P02', '23514', '54000']) expect(mayBeOneRow(coded(code))).toBe(true)
    for (const code of ['42P01', '57P01', 'EPIPE']) expect(mayBeOneRow(coded(code))).toBe(false)
  })

  it('ends at a cause that leads back to itself', () => {
    const error = new Error('round')
    error.cause = error
    expect(sqlState(error)).toBeUndefined()
  })

  it('is put plainly where it is about the schema, and left alone elsewhere', () => {
    expect(explained('store', 'mine', coded('42P01'))).toMatchObject({
      code: 'bad-schema',
      message: 'store: the tables in schema mine are missing or older than this version: run migrate(pool) first',
    })
    const other = coded('23505')
    expect(explained('store', 'mine', other)).toBe(other)
  })
})

describe('a statement with its values written into it', () => {
  it('holds text as hex digits, whatever is in it', () => {
    expect(withLiterals('select $2, $1, $2', ["a'; drop", null])).toBe(
      "select null, pg_catalog.convert_from(pg_catalog.decode('61273b2064726f70', 'hex'), 'UTF8'), null",
    )
    expect(withLiterals('select $1, $2', [12n, -1.5])).toBe('select (12), (-1.5)')
  })

  it('refuses what has no literal', () => {
    for (const value of [Number.NaN, Infinity, {}, []])
      expect(() => withLiterals('select $1', [value])).toThrow('no literal')
  })
})

describe('a failure as JSON', () => {
  it('comes back as it was', () => {
    const failure = { reason: 'permanent', errorName: 'E', errorMessage: 'ü "x"', attempts: 3 } as const
    expect(failureFromJson(failureToJson(failure))).toEqual(failure)
  })

  it('is still a failure where it cannot be read', () => {
    for (const text of [null, '', '{', '[]', '7', '{"reason":"made up","attempts":"x"}'])
      expect(failureFromJson(text)).toEqual({ reason: 'unhandled', errorName: '', errorMessage: '', attempts: 0 })
  })
})
