import fc from 'fast-check'
import * as v from 'valibot'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { encode } from '../../src/core/codec.ts'
import { json, type JsonOptions, type Schema } from '../../src/codecs/json.ts'
import { headersFrom } from '../../src/core/message.ts'
import { outgoing, publisher, type Outgoing } from '../../src/core/publisher.ts'

const none = headersFrom([])
const any: Schema = { '~standard': { version: 1, validate: (value) => ({ value }) } }
const Order = z.object({ orderId: z.string(), cents: z.number() })

const decode = async (text: string | Uint8Array, schema: Schema = any, options: JsonOptions = {}): Promise<unknown> =>
  json(schema, options).decode(typeof text === 'string' ? Buffer.from(text) : text, none)
const permanent = (message: string | RegExp): unknown =>
  expect.objectContaining({ code: 'permanent', message: expect.stringMatching(message) as string })

describe('json()', () => {
  it('decodes what fits the schema, of any Standard Schema library', async () => {
    const text = '{"orderId":"o1","cents":5}'
    expect(await decode(text, Order)).toEqual({ orderId: 'o1', cents: 5 })
    expect(await decode(text, v.object({ orderId: v.string(), cents: v.number() }))).toEqual({
      orderId: 'o1',
      cents: 5,
    })
  })

  it('waits for schemas that check asynchronously, and takes what they make of it', async () => {
    const schema = z.string().transform(async (text) => Promise.resolve(text.length))
    expect(await decode('"four"', schema)).toBe(4)
  })

  it('hands a tombstone to the schema as null', async () => {
    expect(await json(Order.nullable()).decode(null, none)).toBe(null)
    expect(() => json(Order).decode(null, none)).toThrow(permanent('does not fit the schema'))
  })

  it('gives back every value that JSON has', async () => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue({ depthSize: 'large' }), async (value) => {
        const codec = json(any, { maxDepth: 1_000 })
        const expected: unknown = JSON.parse(JSON.stringify(value))
        expect(await codec.decode(codec.encode(value), none)).toEqual(expected)
      }),
    )
  })

  it('does not fit: says where, and keeps to itself what the schema quotes of the body', async () => {
    const schema = v.object({ card: v.object({ number: v.pipe(v.string(), v.email()) }) })
    const error = await decode('{"card":{"number":"4111-secret"}}', schema).catch((thrown: unknown) => thrown)
    expect(error).toMatchObject({ code: 'permanent', message: 'the body does not fit the schema at card.number' })
    expect((error as Error).cause).toContain('4111-secret')
  })

  it('is not JSON: for good, without quoting it', async () => {
    for (const text of ['{"secret":', '', 'nul', '{"a":1}x', '\ufeff\ufeff1']) {
      const error = await decode(text).catch((thrown: unknown) => thrown)
      expect(error).toMatchObject({ code: 'permanent', message: 'the body is not JSON' })
      expect((error as Error).cause).toBe('SyntaxError')
    }
  })

  it('is not UTF-8: for good', async () => {
    await expect(decode(Buffer.from([0x22, 0xff, 0x22]))).rejects.toEqual(permanent('the body is not JSON'))
  })

  describe('X: bounds, before anything is parsed', () => {
    it('refuses a body that is too long', async () => {
      expect(await decode('"12345678"', any, { maxBytes: 10 })).toBe('12345678')
      await expect(decode('"123456789"', any, { maxBytes: 10 })).rejects.toEqual(
        permanent('the body has 11 bytes, more than the 10'),
      )
    })

    it('refuses a body that is nested too deep, and only that', async () => {
      const nested = (depth: number) => '['.repeat(depth) + ']'.repeat(depth)
      expect(await decode(nested(100))).toBeInstanceOf(Array)
      await expect(decode(nested(101))).rejects.toEqual(permanent('the body is nested deeper than 100'))
      await expect(decode(nested(400_000))).rejects.toEqual(permanent('nested deeper'))
      const flat = JSON.stringify(Array.from({ length: 500 }, () => ({ a: [] })))
      expect(await decode(flat, any, { maxDepth: 3 })).toHaveLength(500)
    })

    it('counts as deep what JSON.parse finds deep, whatever stands in texts', async () => {
      const tricky = fc.string({ unit: fc.constantFrom('[', ']', '{', '}', '"', '\\', 'a') })
      const depthOf = (value: unknown): number =>
        typeof value === 'object' && value !== null ? 1 + Math.max(0, ...Object.values(value).map(depthOf)) : 0
      const value = fc.letrec<{ value: unknown }>((tie) => ({
        value: fc.oneof(
          { maxDepth: 6 },
          tricky,
          fc.array(tie('value'), { maxLength: 3 }),
          fc.dictionary(tricky, tie('value'), { maxKeys: 3 }),
        ),
      })).value
      await fc.assert(
        fc.asyncProperty(value, fc.integer({ min: 1, max: 6 }), async (body, maxDepth) => {
          const refused = await decode(JSON.stringify(body), any, { maxDepth }).then(
            () => false,
            () => true,
          )
          expect(refused).toBe(depthOf(JSON.parse(JSON.stringify(body))) > maxDepth)
        }),
      )
    })
  })

  it.each([
    ['trips over the body', new SyntaxError('Unexpected token'), 'permanent'],
    ['reads a field of nothing', new TypeError("Cannot read properties of undefined (reading 'id')"), 'permanent'],
    ['cannot reach its registry', new TypeError('fetch failed', { cause: new Error('ECONNREFUSED') }), undefined],
    ['fails otherwise', new Error('registry: 503'), undefined],
  ])('a schema that %s', async (_, thrown, code) => {
    const schema: Schema = { '~standard': { version: 1, validate: () => Promise.reject(thrown) } }
    const error: unknown = await Promise.resolve(json(schema).decode(Buffer.from('{}'), headersFrom([]))).catch(
      (caught: unknown) => caught,
    )
    if (code === undefined) expect(error).toBe(thrown)
    else expect(error).toMatchObject({ code, cause: thrown })
  })

  describe('numbers that JavaScript cannot hold', () => {
    it.each(['9007199254740993', '-9007199254740993', '{"a":[1234567890123456789]}', '1e400', '{"a":-1E999}'])(
      'refuses %s, unless told otherwise',
      async (text) => {
        await expect(decode(text)).rejects.toEqual(permanent('a number that JavaScript cannot hold'))
        expect(await decode(text, any, { largeNumbers: 'round' })).toEqual(JSON.parse(text))
      },
    )

    it('hands large integers to the schema as they were, where it is asked to', async () => {
      const options = { largeNumbers: 'bigint' } as const
      expect(await decode('{"id":9007199254740993,"n":3}', any, options)).toEqual({ id: 9007199254740993n, n: 3 })
      await expect(decode('1e400', any, options)).rejects.toEqual(permanent('a number that JavaScript cannot hold'))
      expect(await decode('9007199254740993', z.bigint(), options)).toBe(9007199254740993n)
    })

    it.each([
      '9007199254740992',
      '0.30000000000000004',
      '0.1234567890123456789',
      '123456789012345680000',
      '1e21',
      '1000000000000000000000',
      '"9007199254740993"',
      '{"9007199254740993":1}',
      '1.7976931348623157e308',
    ])('takes %s', async (text) => {
      expect(await decode(text)).toEqual(JSON.parse(text))
    })
  })

  it('X: __proto__ in a body is data', async () => {
    const body = (await decode('{"__proto__":{"polluted":1},"constructor":2}')) as object
    expect(Object.keys(body)).toEqual(['__proto__', 'constructor'])
    expect('polluted' in {}).toBe(false)
  })

  it('encodes a tombstone as none, and refuses what JSON cannot say', () => {
    const codec = json(any)
    expect(codec.encode(null)).toBe(null)
    expect(codec.encode({ a: 'größe' })).toEqual(Buffer.from('{"a":"größe"}'))
    expect(() => codec.encode(undefined)).toThrow('a body of type undefined cannot be written as JSON')
    expect(() => codec.encode(() => 1)).toThrow('a body of type function')
    expect(() => codec.encode({ id: 1n })).toThrow(permanent('cannot be written as JSON'))
  })

  it.each([
    [{ maxBytes: 0 }, 'json: maxBytes must be an integer of at least 1, got 0'],
    [{ maxDepth: 1.5 }, 'json: maxDepth must be an integer of at least 1, got 1.5'],
  ])('refuses %j', (options, message) => {
    expect(() => json(any, options)).toThrow(message)
  })
})

describe('encode()', () => {
  it('encodes on the way to the wire', async () => {
    const sent: Outgoing[] = []
    const wire = { publish: (messages: readonly Outgoing[]) => Promise.resolve(void sent.push(...messages)) }
    const orders = publisher(wire).use(encode(json(Order)))
    await orders.publish([outgoing({ destination: 'orders', key: 'k', body: { orderId: 'o1', cents: 5 } })])
    expect(sent).toMatchObject([{ destination: 'orders', type: 'orders', key: 'k' }])
    expect(sent[0]?.body?.toString()).toBe('{"orderId":"o1","cents":5}')
  })
})
