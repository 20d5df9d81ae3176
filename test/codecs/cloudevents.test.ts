import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { cloudEvents, encodeCloudEvents, type CloudEvent } from '../../src/codecs/cloudevents.ts'
import type { Decoder } from '../../src/core/codec.ts'
import { json, type Schema } from '../../src/codecs/json.ts'
import { headersFrom, type Bytes } from '../../src/core/message.ts'
import { outgoing, publisher, type Outgoing } from '../../src/core/publisher.ts'

const Order = z.object({ cents: z.number() })
const events = cloudEvents(json(Order))
const any: Schema = { '~standard': { version: 1, validate: (value) => ({ value }) } }
const raw: Decoder<Bytes> = { name: 'raw', decode: (bytes) => bytes }

const decode = async <Data>(
  codec: Decoder<CloudEvent<Data>>,
  body: Bytes | object,
  headers: Readonly<Record<string, string>>,
): Promise<CloudEvent<Data>> =>
  codec.decode(
    body === null || body instanceof Uint8Array ? body : Buffer.from(JSON.stringify(body)),
    headersFrom(Object.entries(headers)),
  )
const permanent = (message: string): unknown =>
  expect.objectContaining({ code: 'permanent', message: expect.stringContaining(message) as string })

const context = { specversion: '1.0', id: 'e1', source: '/shop', type: 'order.placed' }
const binary = { ce_specversion: '1.0', ce_id: 'e1', ce_source: '/shop', ce_type: 'order.placed' }
const structured = { 'content-type': 'application/cloudevents+json; charset=UTF-8' }

describe('cloudEvents()', () => {
  it('reads binary mode: the context from headers, the data from the body', async () => {
    const headers = {
      ...binary,
      ce_subject: 'o1',
      ce_time: '2025-01-01T00:00:00Z',
      ce_traceparent: '00-1-2-01',
      'content-type': 'application/json',
      other: 'ignored',
    }
    expect(await decode(events, { cents: 5 }, headers)).toEqual({
      id: 'e1',
      source: '/shop',
      type: 'order.placed',
      subject: 'o1',
      time: '2025-01-01T00:00:00Z',
      dataContentType: 'application/json',
      dataSchema: null,
      extensions: { traceparent: '00-1-2-01' },
      data: { cents: 5 },
    })
  })

  it.each(['ce_', 'ce-', 'cloudEvents:', 'cloudEvents_'])('knows the prefix %s', async (prefix) => {
    const headers = Object.fromEntries(Object.entries(context).map(([name, value]) => [prefix + name, value]))
    expect(await decode(events, { cents: 5 }, headers)).toMatchObject({ id: 'e1', source: '/shop' })
  })

  it('reads structured mode: everything from the body', async () => {
    const event = { ...context, dataschema: '/schemas/1', comexampleretries: 3, data: { cents: 5 } }
    expect(await decode(events, event, structured)).toEqual({
      id: 'e1',
      source: '/shop',
      type: 'order.placed',
      subject: null,
      time: null,
      dataContentType: null,
      dataSchema: '/schemas/1',
      extensions: { comexampleretries: 3 },
      data: { cents: 5 },
    })
  })

  it('hands the data to its codec as bytes, in whichever way it came', async () => {
    const codec = cloudEvents(raw)
    const read = async (event: object) => (await decode(codec, { ...context, ...event }, structured)).data?.toString()
    expect(await read({ data: { a: 1 } })).toBe('{"a":1}')
    expect(await read({ data: 'text' })).toBe('"text"')
    expect(await read({ data: 'text', datacontenttype: 'text/plain' })).toBe('text')
    expect(await read({ data: { a: 1 }, datacontenttype: 'application/vnd.shop+json' })).toBe('{"a":1}')
    expect(await read({ data_base64: 'AAEC', datacontenttype: 'application/octet-stream' })).toBe('\u0000\u0001\u0002')
    expect(await read({})).toBe(undefined)
  })

  it('hands a tombstone to the codec of the data', async () => {
    expect((await decode(cloudEvents(json(Order.nullable())), null, binary)).data).toBe(null)
  })

  it('bad input is undecodable for good', async () => {
    await expect(decode(events, { cents: 5 }, {})).rejects.toEqual(permanent('specversion is missing'))
    await expect(decode(events, { cents: 5 }, { ...binary, ce_specversion: '0.3' })).rejects.toEqual(permanent("'0.3'"))
    await expect(decode(events, { cents: 5 }, { ...binary, ce_source: '' })).rejects.toEqual(
      permanent('without source'),
    )
    await expect(decode(events, { cents: 'x' }, binary)).rejects.toEqual(permanent('does not fit the schema at cents'))
    await expect(decode(events, { ...context, id: 5, data: { cents: 5 } }, structured)).rejects.toEqual(
      permanent('without id'),
    )
    await expect(decode(events, [context], structured)).rejects.toEqual(permanent('does not fit the schema'))
    await expect(decode(events, Buffer.from('{'), structured)).rejects.toEqual(permanent('the body is not JSON'))
    const batch = { 'content-type': 'application/cloudevents-batch+json' }
    await expect(decode(events, [context], batch)).rejects.toEqual(permanent('cloudevents-batch'))
  })

  it('X: keeps the bounds of its JSON', async () => {
    const small = cloudEvents(json(any), { maxBytes: 100 })
    await expect(decode(small, { ...context, data: 'x'.repeat(100) }, structured)).rejects.toEqual(permanent('bytes'))
  })

  it('an error of the data codec that is not about the bytes stays what it is', async () => {
    const down: Decoder<never> = { name: 'registry', decode: () => Promise.reject(new Error('registry down')) }
    await expect(decode(cloudEvents(down), { cents: 5 }, binary)).rejects.toThrow('registry down')
  })
})

describe('encodeCloudEvents()', () => {
  function wire() {
    const sent: Outgoing[] = []
    return { sent, publish: (messages: readonly Outgoing[]) => Promise.resolve(void sent.push(...messages)) }
  }

  it.each(['binary', 'structured'] as const)('what it writes in %s mode is read back', async (mode) => {
    await fc.assert(
      fc.asyncProperty(fc.jsonValue(), fc.string({ minLength: 1 }), async (body, id) => {
        const to = wire()
        const orders = publisher(to).use(encodeCloudEvents(json(any), { source: '/shop', mode }))
        const headers = headersFrom([['traceparent', '00-1-2-01']])
        const timeMs = Date.UTC(2025, 0, 1)
        await orders.publish([
          outgoing<unknown>({ destination: 'orders', id, type: 'order.placed', headers, timeMs, body }),
        ])
        const [message] = to.sent
        if (message === undefined) throw new Error('nothing was sent')
        expect(message).toMatchObject({ id, type: 'order.placed', destination: 'orders' })
        expect(message.headers['traceparent']).toBe('00-1-2-01')
        expect(await cloudEvents(json(any)).decode(message.body, message.headers)).toEqual({
          id,
          source: '/shop',
          type: 'order.placed',
          subject: null,
          time: '2025-01-01T00:00:00.000Z',
          dataContentType: 'application/json',
          dataSchema: null,
          extensions: {},
          data: JSON.parse(JSON.stringify(body)) as unknown,
        })
      }),
      { numRuns: 50 },
    )
  })

  it('refuses wrong options', () => {
    const codec = json(any)
    expect(() => encodeCloudEvents(codec, { source: '' })).toThrow('encodeCloudEvents: source must be a text')
    // @ts-expect-error no such mode
    expect(() => encodeCloudEvents(codec, { source: 'a', mode: 'both' })).toThrow(
      "mode must be one of 'binary', 'structured'",
    )
    expect(() => encodeCloudEvents(codec, { source: 'a', mode: 'structured', dataContentType: 'text/plain' })).toThrow(
      "encodeCloudEvents: dataContentType must be JSON in mode 'structured', got 'text/plain'",
    )
  })
})
