import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { fingerprintOf, shapeOf } from '../../src/dead-letter/fingerprint.ts'
import { foldOf } from '../../src/dead-letter/fold.ts'

describe('the shape of an error', () => {
  it.each([
    ['Order 17 not found', 'Order <id> not found'],
    ['Order 0af76519-16cd-43dd-8448-eb211c80319c not found', 'Order <id> not found'],
    ['Order ORD-10023 not found', 'Order <id> not found'],
    ['Customer ana@example.com not found', 'Customer <email> not found'],
    ['connect ECONNREFUSED 10.0.3.7:5432', 'connect ECONNREFUSED <ip>:5432'],
    ['connect ECONNREFUSED 10.0.3.7:6379', 'connect ECONNREFUSED <ip>:6379'],
    ['Request failed with status code 404', 'Request failed with status code 404'],
    ['Request failed with status code 503', 'Request failed with status code 503'],
    [
      'duplicate key value violates unique constraint "orders_pkey"',
      'duplicate key value violates unique constraint "orders_pkey"',
    ],
    ["No such customer: 'cus_9s6XKzkNRiz8i3'", "No such customer: '<id>'"],
    ['message orders/3/1234: its body is not JSON', 'message <id>: its body is not JSON'],
    ['amount 12.50 EUR exceeds the limit of 10.00 EUR', 'amount <id> EUR exceeds the limit of <id> EUR'],
    ['rejected at 2026-11-27T14:00:00.123Z', 'rejected at <time>'],
    ["Cannot read properties of undefined (reading 'total')", "Cannot read properties of undefined (reading 'total')"],
    ['E11000 duplicate key error collection: shop.orders', 'E11000 duplicate key error collection: shop.orders'],
  ])('of %j is %j', (message, shape) => {
    expect(shapeOf(message)).toBe(shape)
  })

  it('X: takes any text, and no longer for the worst of it than for any other', () => {
    fc.assert(fc.property(fc.string({ unit: 'binary' }), (text) => shapeOf(text).length <= 300))
    for (const worst of ['a.'.repeat(5000), '@'.repeat(5000), "'".repeat(5000), ':0'.repeat(5000), '-'.repeat(5000)])
      expect(shapeOf(worst).length).toBeLessThanOrEqual(300)
  })

  it('D-21 keeps pipelines, names and codes apart, and carries the version of its rules', () => {
    const failed = { pipeline: 'a', errorName: 'E', errorCode: null, errorMessage: 'x 1' }
    const own = fingerprintOf(failed)
    expect(own).toMatch(/^1-[0-9a-f]{16}$/)
    expect(fingerprintOf({ ...failed, errorMessage: 'x 2' })).toBe(own)
    for (const other of [{ pipeline: 'b' }, { errorName: 'F' }, { errorCode: '23505' }, { errorMessage: 'y 1' }])
      expect(fingerprintOf({ ...failed, ...other })).not.toBe(own)
  })
})

describe('the mark of a letter', () => {
  const letter = { pipeline: 'p', destination: 'd', id: 'i', key: null, body: null }

  it('is the same for the same content alone, however its parts are cut', () => {
    expect(foldOf(letter)).toMatch(/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/)
    expect(foldOf({ ...letter })).toBe(foldOf(letter))
    const others = [
      { ...letter, pipeline: 'pd', destination: '' },
      { ...letter, key: '' },
      { ...letter, body: new Uint8Array() },
      { ...letter, body: Buffer.from('x') },
      { ...letter, id: 'i\ud800' },
      { ...letter, id: 'i\udc00' },
    ]
    expect(new Set([letter, ...others].map((each) => foldOf(each))).size).toBe(others.length + 1)
  })
})
