import { describe, expect, it } from 'vitest'
import { failureFromJson, failureToJson } from '../../../src/stores/failure-json.ts'
import {
  explained,
  looksDisconnected,
  mayBeOneRow,
  saysServerIsDown,
  sqlState,
} from '../../../src/stores/postgres/failures.ts'
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
    for (const code of ['08006', '57P01', '57P02', '57P03', '53300']) expect(saysServerIsDown(coded(code))).toBe(true)
    for (const code of ['57014', '40001', 'ECONNRESET']) expect(saysServerIsDown(coded(code))).toBe(false)
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
