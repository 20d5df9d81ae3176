import avsc from 'avsc'
import { describe, expect, it, vi } from 'vitest'
import {
  confluent,
  publishConfluent,
  type ConfluentReader,
  type RegisteredSchema,
  type SchemaRegistry,
} from '../../src/codecs/confluent/index.ts'
import { PermanentError } from '../../src/core/errors.ts'
import { headersFrom, type Bytes } from '../../src/core/message.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { outgoing, publisher, type Outgoing, type Publisher } from '../../src/core/publisher.ts'
import { deadLetter } from '../../src/dead-letter/dead-letter.ts'
import { memoryBroker, memoryConsumer } from '../../src/transports/memory/index.ts'

interface Order {
  readonly id: string
  readonly cups: number
  readonly note?: string | null
}

const fields = [
  { name: 'id', type: 'string' },
  { name: 'cups', type: 'int' },
]
const v1 = avsc.Type.forSchema({ type: 'record', name: 'Order', fields })
const v2 = avsc.Type.forSchema({
  type: 'record',
  name: 'Order',
  fields: [...fields, { name: 'note', type: ['null', 'string'], default: null }],
})
const schemas = new Map([
  [1, v1],
  [2, v2],
])

/** A registry of the two, that can be told to fail for all ids or for one. */
function fakeRegistry(): SchemaRegistry & { asked: number; fails: (id: number) => Error | undefined } {
  return {
    asked: 0,
    fails: () => undefined,
    async schemaOf(id) {
      this.asked += 1
      const error = this.fails(id)
      if (error !== undefined) throw error
      const type = schemas.get(id)
      return type === undefined ? null : { type: 'AVRO', schema: JSON.stringify(type.schema()) }
    },
  }
}

function reader({ schema }: RegisteredSchema): ConfluentReader<Order> {
  const resolver = v2.createResolver(avsc.Type.forSchema(JSON.parse(schema) as avsc.Schema))
  return (data) => v2.fromBuffer(Buffer.from(data), resolver) as Order
}

function written(id: number, data: Uint8Array): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(id, 1)
  return Buffer.concat([head, data])
}

const order = { id: 'o-1', cups: 2 }
const good = written(1, v1.toBuffer(order))
const decodeWith = (registry: SchemaRegistry) => {
  const codec = confluent({ registry, reader })
  return async (body: Bytes): Promise<Order> => codec.decode(body, headersFrom([]))
}
const thrown = (code: string, message: string): unknown =>
  expect.objectContaining({ code, message: expect.stringContaining(message) as string })

describe('confluent()', () => {
  it('reads each version with its own schema, as the reader’s', async () => {
    const decode = decodeWith(fakeRegistry())
    expect(await decode(good)).toMatchObject({ ...order, note: null })
    expect(await decode(written(2, v2.toBuffer({ ...order, note: 'hot' })))).toMatchObject({ ...order, note: 'hot' })
  })

  it('asks the registry once for each schema', async () => {
    const registry = fakeRegistry()
    const decode = decodeWith(registry)
    await Promise.all([decode(good), decode(good)])
    await decode(good)
    expect(registry.asked).toBe(1)
  })

  it.each([
    ['a tombstone', null, 'tombstone'],
    ['an empty body', Buffer.alloc(0), '0 bytes'],
    ['three bytes', Buffer.from([0, 0, 0]), '3 bytes'],
    ['another first byte', Buffer.from('{"id":"o"}'), 'first byte is 123'],
    ['a truncated body', good.subarray(0, 8), 'does not fit schema 1'],
    ['bytes after the data', Buffer.concat([good, Buffer.from('zz')]), 'does not fit schema 1'],
    ['an id that the registry does not know', written(99, Buffer.from('x')), 'knows no schema 99'],
  ])('refuses %s for good', async (_, body, message) => {
    await expect(decodeWith(fakeRegistry())(body)).rejects.toEqual(thrown('permanent', message))
  })

  it('refuses for good what no reader can be made for', async () => {
    const registry: SchemaRegistry = { schemaOf: async () => ({ type: 'AVRO', schema: '{"type":"nonsense"}' }) }
    await expect(decodeWith(registry)(good)).rejects.toEqual(thrown('permanent', 'no reader for schema 1'))
  })

  it.each([
    ['nobody listens', Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })],
    ['nobody listens, as one client tells it', Object.assign(new Error('Confluent_Schema_Registry'), { status: 400 })],
    ['HTTP 401', Object.assign(new Error('401'), { status: 401 })],
    ['HTTP 500', Object.assign(new Error('500'), { status: 500 })],
  ])('holds the pipeline while the registry answers nobody: %s', async (_, error) => {
    const registry = fakeRegistry()
    registry.fails = () => error
    await expect(decodeWith(registry)(good)).rejects.toMatchObject({ code: 'retry-later', holds: 'pipeline' })
  })

  it('lets messages of known schemas go on while the registry is away', async () => {
    const registry = fakeRegistry()
    const decode = decodeWith(registry)
    await decode(good)
    registry.fails = () => new Error('away')
    await expect(decode(written(2, v2.toBuffer(order)))).rejects.toMatchObject({ holds: 'message' })
    expect(await decode(good)).toMatchObject(order)
    registry.fails = () => undefined
    expect(await decode(written(2, v2.toBuffer(order)))).toMatchObject(order)
  })

  it('does not wait longer than its time-out', async () => {
    const registry: SchemaRegistry = { schemaOf: () => new Promise(() => {}) }
    const codec = confluent({ registry, reader, timeoutMs: 5 })
    await expect(codec.decode(good, headersFrom([]))).rejects.toMatchObject({
      code: 'retry-later',
      cause: { code: 'timed-out' },
    })
  })

  it('counts an id that fails alone against its message (PR-9)', async () => {
    const registry = fakeRegistry()
    registry.fails = (id) => (id === 7 ? Object.assign(new Error('500'), { status: 500 }) : undefined)
    const decode = decodeWith(registry)
    const forged = written(7, Buffer.from('x'))
    await expect(decode(forged)).rejects.toMatchObject({ code: 'retry-later' })
    await decode(good)
    const error: unknown = await decode(forged).catch((error: unknown) => error)
    expect(error).not.toHaveProperty('code')
    expect(error).toMatchObject({ message: expect.stringContaining('did for others') as string })
  })

  it('tells a Protobuf reader the indexes of its message type', async () => {
    const registry: SchemaRegistry = { schemaOf: async () => ({ type: 'PROTOBUF', schema: 'message A {}' }) }
    const codec = confluent({ registry, reader: () => (data, indexes) => [Buffer.from(data).toString(), indexes] })
    const decode = async (data: number[]): Promise<unknown> =>
      codec.decode(written(3, Buffer.from([...data, ...Buffer.from('rest')])), headersFrom([]))
    expect(await decode([0])).toEqual(['rest', [0]])
    // A count of 2, then 1 and 300, as zigzag varints.
    expect(await decode([4, 2, 0xd8, 0x04])).toEqual(['rest', [1, 300]])
    await expect(decode([0x80, 0x80, 0x80, 0x80, 0x80])).rejects.toEqual(thrown('permanent', 'message indexes'))
    await expect(decode([0xff, 0xff, 0x7f])).rejects.toEqual(thrown('permanent', 'message indexes'))
  })

  it('lets 200 good messages pass a truncated one (PR-1)', async () => {
    const broker = memoryBroker({ partitions: 1 })
    const wire = broker.publisher()
    let handled = 0
    const orders = pipeline('orders')
      .use(deadLetter({ to: wire, destination: 'dead' }))
      .decode(confluent({ registry: fakeRegistry(), reader }))
      .handle(async () => void handled++)
    const stop = new AbortController()
    const running = memoryConsumer({ broker, groupId: 'g', topics: ['orders'], pipeline: orders }).run(stop.signal)
    const send = (id: string, body: Bytes): Outgoing => outgoing({ destination: 'orders', id, key: id, body })
    await wire.publish([
      send('bad', good.subarray(0, 8)),
      ...Array.from({ length: 200 }, (_, n) => send(`good-${n}`, good)),
    ])
    await vi.waitFor(() => expect(handled).toBe(200))
    await vi.waitFor(() => expect(broker.messages('dead')).toMatchObject([{ id: 'bad' }]))
    stop.abort()
    await running
  })
})

describe('publishConfluent()', () => {
  function sending(write: (body: Order) => Uint8Array = (body) => v1.toBuffer(body)) {
    const sent: Outgoing[] = []
    const wire: Publisher = { publish: async (messages) => void sent.push(...messages) }
    const orders = publisher(wire).use(publishConfluent<Order>({ idOf: async () => 1, write }))
    return { sent, orders }
  }

  it('writes what confluent() reads, and leaves a tombstone', async () => {
    const { sent, orders } = sending()
    await orders.publish([
      outgoing({ destination: 'orders', body: order }),
      outgoing({ destination: 'orders', body: null }),
    ])
    expect(await decodeWith(fakeRegistry())(sent[0]?.body ?? null)).toMatchObject(order)
    expect(sent[1]?.body).toBeNull()
  })

  it('refuses one body that cannot be written, and publishes the others', async () => {
    const { sent, orders } = sending()
    const bodies: Order[] = [order, { id: 'o-2', cups: 0.5 }, { id: 'o-3', cups: 1 }]
    const publishing = orders.publish(bodies.map((body) => outgoing({ destination: 'orders', body })))
    await expect(publishing).rejects.toMatchObject({
      code: 'publish-failed',
      failures: [{ index: 1, permanent: true }],
    })
    expect(sent).toHaveLength(2)
  })

  it('names the right messages where the publisher below refuses some as well', async () => {
    const wire = {
      publish: async () => {
        const failures = [{ index: 1, error: new Error('too large'), permanent: true }]
        throw new (await import('../../src/core/errors.ts')).PublishError('1 of 2', failures)
      },
    }
    const orders = publisher(wire).use(publishConfluent<Order>({ idOf: () => 1, write: (body) => v1.toBuffer(body) }))
    const bodies: Order[] = [{ id: 'o-1', cups: 0.5 }, order, order]
    const failing: unknown = await orders
      .publish(bodies.map((body) => outgoing({ destination: 'orders', body })))
      .catch((error: unknown) => error)
    expect(failing).toMatchObject({ failures: [{ index: 0 }, { index: 2 }] })
  })

  it('publishes nothing while the id cannot be had', async () => {
    const { sent } = sending()
    const idOf = async (): Promise<number> => Promise.reject(new Error('away'))
    const orders = publisher({ publish: async (messages: readonly Outgoing[]) => void sent.push(...messages) }).use(
      publishConfluent<Order>({ idOf, write: (body) => v1.toBuffer(body) }),
    )
    await expect(orders.publish([outgoing({ destination: 'orders', body: order })])).rejects.toThrow('away')
    expect(sent).toEqual([])
  })

  it.each([-1, 0.5, 2 ** 32, NaN])('refuses %s as an id', async (id) => {
    const orders = publisher({ publish: async () => {} }).use(
      publishConfluent<Order>({ idOf: () => id, write: (body) => v1.toBuffer(body) }),
    )
    const failing: unknown = await orders
      .publish([outgoing({ destination: 'orders', body: order })])
      .catch((error: unknown) => error)
    expect(failing).toMatchObject({ failures: [{ error: expect.any(PermanentError) as unknown }] })
  })
})
