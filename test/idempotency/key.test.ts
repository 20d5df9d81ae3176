import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Delivery } from '../../src/core/delivery.ts'
import { keyFromDigest, keyFromHeader, keyOfParts } from '../../src/idempotency/key.ts'
import { headersFrom } from '../../src/core/message.ts'
import { neverAborts } from '../../src/core/signals.ts'
import { storedKey } from '../../src/core/stored-key.ts'

function delivery(headers: Record<string, string>, bytes: Uint8Array | null = null): Delivery {
  return {
    message: { id: 'm1', type: 't', key: null, headers: headersFrom(Object.entries(headers)), body: bytes, timeMs: 0 },
    bytes,
    pipeline: 'p',
    origin: { system: 'direct', destination: 'd', partition: null, position: null, group: null },
    attempt: 1,
    signal: neverAborts,
    raw: null,
  }
}

describe('keys', () => {
  it('I-24: parts never run into each other', () => {
    expect(keyOfParts('a:b', 'c')).not.toBe(keyOfParts('a', 'b:c'))
    fc.assert(
      fc.property(fc.array(fc.string()), fc.array(fc.string()), (left, right) => {
        fc.pre(JSON.stringify(left) !== JSON.stringify(right))
        expect(keyOfParts(...left)).not.toBe(keyOfParts(...right))
      }),
    )
  })

  it('stores any key as short text that PostgreSQL takes, and different keys differently', () => {
    const hostile = fc.oneof(
      fc.string({ unit: 'binary' }),
      fc.string({ minLength: 500, maxLength: 3000 }),
      fc.constantFrom('\0', 'a\0', '\ud800', '\udc00', 'sha256:', storedKey('\0'), storedKey('\ud800')),
    )
    fc.assert(
      fc.property(hostile, hostile, (left, right) => {
        const stored = storedKey(left)
        expect(stored.length).toBeLessThanOrEqual(512)
        expect(stored.includes('\0')).toBe(false)
        expect(stored.isWellFormed()).toBe(true)
        expect(stored === storedKey(right)).toBe(left === right)
      }),
    )
  })

  it('takes the key from a header, and says which header is missing', () => {
    const key = keyFromHeader('idempotency-key')
    expect(key(delivery({ 'idempotency-key': 'k1' }))).toBe('k1')
    expect(() => key(delivery({}))).toThrow("message m1 has no header 'idempotency-key'")
    expect(() => keyFromHeader('__proto__')(delivery({}))).toThrow("no header '__proto__'")
  })

  it('digests the bytes as they came', () => {
    const digest = (text: string) => keyFromDigest(delivery({}, Buffer.from(text)))
    expect(digest('a')).toBe(digest('a'))
    expect(digest('a')).not.toBe(digest('b'))
    expect(digest('')).not.toBe(digest('a'))
  })

  it('keeps tombstones of different keys apart, which have no bytes to digest', async () => {
    const of = (id: string) => keyFromDigest({ ...delivery({}), message: { ...delivery({}).message, id } })
    expect(of('m1')).not.toBe(of('m2'))
    expect(of('m1')).toBe(of('m1'))
  })

  it('measures keys in bytes: PostgreSQL does', () => {
    expect(storedKey('x'.repeat(512))).toBe('x'.repeat(512))
    expect(storedKey('漢'.repeat(170))).toBe('漢'.repeat(170))
    for (const key of ['漢'.repeat(171), '漢'.repeat(512), 'x'.repeat(513)]) expect(storedKey(key)).toMatch(/^sha256:/)
  })
})
