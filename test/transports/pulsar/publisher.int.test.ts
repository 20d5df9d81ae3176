import { pulsarClient, pulsarConsumer, pulsarPublisher } from 'holdfast/pulsar'
import { deflateSync, zstdCompressSync } from 'node:zlib'
import { afterEach, expect, it } from 'vitest'
import { pipeline } from '../../../src/core/pipeline.ts'
import { outgoing, type Outgoing } from '../../../src/core/publisher.ts'
import type { PulsarClient } from '../../../src/transports/pulsar/client.ts'
import { single, type Command, type Metadata } from '../../../src/transports/pulsar/protocol/commands.ts'
import { sendFrame } from '../../../src/transports/pulsar/protocol/frames.ts'
import { encode } from '../../../src/transports/pulsar/protocol/protobuf.ts'
import { describeWith, pulsarUrl, serviceAddress, uniqueName } from '../../support/services.ts'
import { describeFull, isFull } from '../../support/skipped.ts'
import { until } from '../rabbitmq/support.ts'
import { arrivedAt as arrivedSoFar } from './support.ts'

/** All of a topic, once there are that many. */
async function arrivedAt(topic: string, count: number): ReturnType<typeof arrivedSoFar> {
  let arrived = await arrivedSoFar(topic)
  for (let tries = 0; tries < 10 && arrived.length < count; tries++) arrived = await arrivedSoFar(topic)
  return arrived
}

if (isFull)
  describeWith(['pulsar'], 'publishing to Pulsar', () => {
    const clients: PulsarClient[] = []
    afterEach(() => {
      for (const client of clients.splice(0)) client.close()
    })

    function connect(): PulsarClient {
      const client = pulsarClient({ serviceUrl: pulsarUrl() })
      clients.push(client)
      return client
    }

    /** As a producer of somebody else: sends one entry after the other, and tells what it got for each. */
    async function raw(topic: string, entries: readonly { number: number; metadata?: Metadata; body?: Buffer }[]) {
      const connection = await connect().connectionFor(topic)
      const receipts: Command<'sendReceipt'>[] = []
      let answered = Promise.withResolvers<void>()
      connection.producers.set(77_777, {
        receipt: (receipt) => void (receipts.push(receipt), answered.resolve()),
        refused: ({ message }) => answered.reject(new Error(message)),
        closed: (why) => answered.reject(new Error(why)),
      })
      const producerName = uniqueName('raw')
      const full = `persistent://public/default/${topic}`
      await connection.request('producer', { topic: full, producerId: 77_777, producerName, isNameGiven: true })
      for (const { number: sequenceId, metadata = {}, body = Buffer.from(`${sequenceId}`) } of entries) {
        const own = { producerName, sequenceId, publishTime: 1 }
        answered = Promise.withResolvers<void>()
        connection.write(sendFrame({ producerId: 77_777, sequenceId, messages: 1 }, { ...metadata, ...own }, body))
        await answered.promise
      }
      return receipts
    }

    const sourced = (destination: string, from: number, to: number, source = 'outbox/1/0/1'): readonly Outgoing[] =>
      Array.from({ length: to - from + 1 }, (_, at) => ({
        ...outgoing({ destination, id: `m${from + at}`, key: 'k', body: Buffer.from('x') }),
        sequence: { source, number: from + at },
      }))

    it('P-2: the broker drops a lower number though it was never sent, and its receipt alone says so', async () => {
      const topic = uniqueName('topic')
      const receipts = await raw(topic, [{ number: 1 }, { number: 5 }, { number: 5 }, { number: 3 }])
      expect(receipts.map(({ messageId }) => messageId?.entryId === -1)).toEqual([false, false, true, true])
      expect((await arrivedAt(topic, 2)).map(({ body }) => String(body && Buffer.from(body)))).toEqual(['1', '5'])
    })

    it('P-2: numbered messages are stored once over publishers, and one that goes back is refused by us', async () => {
      const topic = uniqueName('topic')
      const first = pulsarPublisher(connect())
      await first.publish(sourced(topic, 1, 5))
      await first.close()
      const second = pulsarPublisher(connect())
      await second.publish(sourced(topic, 1, 8))
      await second.publish(sourced(topic, 10, 10))
      await expect(second.publish(sourced(topic, 9, 9))).rejects.toThrow(/SequenceWentBack/)
      expect((await arrivedAt(topic, 9)).map(({ id }) => id)).toEqual([
        'm1',
        'm2',
        'm3',
        'm4',
        'm5',
        'm6',
        'm7',
        'm8',
        'm10',
      ])
    })

    it('a name goes to another process once its owner has nothing to send', async () => {
      const topic = uniqueName('topic')
      const [first, second] = [pulsarPublisher(connect()), pulsarPublisher(connect())]
      await first.publish(sourced(topic, 1, 3))
      await second.publish(sourced(topic, 2, 6))
      await first.publish(sourced(topic, 5, 9))
      expect((await arrivedAt(topic, 9)).map(({ id }) => id)).toEqual(sourced(topic, 1, 9).map(({ id }) => id))
    })

    it('numbered messages without a key are stored once over the partitions of a topic', async () => {
      const topic = uniqueName('topic')
      const { web = '' } = serviceAddress('pulsar').also
      const made = await fetch(`${web}/admin/v2/persistent/public/default/${topic}/partitions`, {
        ...{ method: 'PUT', body: '3', headers: { 'content-type': 'application/json' } },
      })
      expect(made.ok).toBe(true)
      const messages = sourced(topic, 1, 30).map((message) => ({ ...message, key: null }))
      for (const count of [20, 30]) {
        const publisher = pulsarPublisher(connect())
        await publisher.publish(messages.slice(0, count))
        await publisher.close()
      }
      const parts = await Promise.all([0, 1, 2].map((part) => arrivedAt(`${topic}-partition-${part}`, 10)))
      expect(parts.map(({ length }) => length)).toEqual([10, 10, 10])
    })

    it('P-7: one that is too large with its headers is refused alone, and the largest is stored', async () => {
      const topic = uniqueName('topic')
      const client = connect()
      const { maxMessageSize } = await client.connectionFor(topic)
      const publisher = pulsarPublisher(client)
      const message = (id: string, bytes: number, headerBytes = 0): Outgoing =>
        outgoing({ destination: topic, id, body: Buffer.alloc(bytes), headers: { big: 'x'.repeat(headerBytes) } })
      const messages = [
        message('largest', maxMessageSize - 600),
        message('limit', maxMessageSize - 200),
        message('headers', maxMessageSize - 100_000, 200_000),
        message('small', 1),
      ]
      await expect(publisher.publish(messages)).rejects.toMatchObject({
        code: 'publish-failed',
        failures: [{ index: 1 }, { index: 2 }],
      })
      const connection = await client.connectionFor(topic)
      expect(connection.error).toBeUndefined()
      expect((await arrivedAt(topic, 2)).map(({ id }) => id)).toEqual(['largest', 'small'])
    })

    it('P-14: a terminated topic refuses for good, and the others get theirs', async () => {
      const [over, open] = [uniqueName('topic'), uniqueName('topic')]
      const publisher = pulsarPublisher(connect())
      await publisher.publish([outgoing({ destination: over, id: 'before', body: null })])
      const { web = '' } = serviceAddress('pulsar').also
      const ended = await fetch(`${web}/admin/v2/persistent/public/default/${over}/terminate`, { method: 'POST' })
      expect(ended.ok).toBe(true)
      const both = [over, open].map((destination) => outgoing({ destination, id: 'after', body: null }))
      await expect(publisher.publish(both)).rejects.toMatchObject({
        code: 'publish-failed',
        failures: [{ index: 0, permanent: true }],
      })
      expect((await arrivedAt(open, 1)).map(({ id }) => id)).toEqual(['after'])
    })

    it('chunks of other producers are one message, and are acked with it', async () => {
      const topic = uniqueName('topic')
      const body = Buffer.from('x'.repeat(1_000))
      const chunk = (number: number, chunkId: number, uuid: string, part: Buffer) => ({
        ...{ number, body: part },
        metadata: { partitionKey: 'k', uuid, chunkId, chunks: 2, compression: 2, uncompressedSize: body.length },
      })
      const small = deflateSync(body)
      const parts = [small.subarray(0, 5), small.subarray(5)] as const
      await raw(topic, [
        chunk(1, 0, 'given up', parts[0]),
        chunk(2, 0, 'whole', parts[0]),
        chunk(3, 1, 'whole', parts[1]),
        { number: 4, metadata: { partitionKey: 'k' } },
      ])
      const seen: (string | null)[] = []
      const stop = new AbortController()
      const handler = pipeline('orders').handle(
        ({ message }) => void seen.push(message.body && String(Buffer.from(message.body))),
      )
      const client = connect()
      const shared = { client, topics: [topic], subscription: 'billing', pipeline: handler }
      const running = pulsarConsumer(shared).run(stop.signal)
      await until('both', () => seen.length === 2)
      stop.abort()
      await running
      expect(seen).toEqual([String(body), '4'])
      const { web = '' } = serviceAddress('pulsar').also
      const stats = await fetch(`${web}/admin/v2/persistent/public/default/${topic}/stats?getPreciseBacklog=true`)
      const { subscriptions } = (await stats.json()) as { subscriptions: { billing: { msgBacklog: number } } }
      // The one that its producer gave up.
      expect(subscriptions.billing.msgBacklog).toBe(1)
    })

    it('batches of other producers are read, plain and compressed by zlib or zstd', async () => {
      const topic = uniqueName('topic')
      const batch = (...bodies: readonly string[]): Buffer =>
        Buffer.concat(
          bodies.flatMap((body) => {
            const meta = encode(single, { partitionKey: 'k', payloadSize: body.length })
            const size = Buffer.alloc(4)
            size.writeUInt32BE(meta.length)
            return [size, meta, Buffer.from(body)]
          }),
        )
      const plain = batch('a', 'b')
      const large = batch('x'.repeat(10_000), 'c')
      await raw(topic, [
        { number: 0, metadata: { messages: 2, partitionKey: 'k' }, body: plain },
        ...[deflateSync(large), zstdCompressSync(large)].map((body, at) => ({
          number: at + 1,
          metadata: { messages: 2, partitionKey: 'k', compression: at + 2, uncompressedSize: large.length },
          body,
        })),
      ])
      const bodies = (await arrivedAt(topic, 6)).map(({ body }) => String(body && Buffer.from(body)).slice(0, 3))
      expect(bodies).toEqual(['a', 'b', 'xxx', 'c', 'xxx', 'c'])
    })
  })

// A file needs a suite, also where its server is not there.
if (!isFull) describeFull('publishing to Pulsar', () => it('needs the full run', () => expect(isFull).toBe(true)))
