import { outgoing, pipeline } from 'holdfast'
import { pulsarClient, pulsarConsumer, pulsarPublisher, type PulsarClient } from 'holdfast/pulsar'
import { up } from '../../scripts/services/manager.ts'
import { serviceNamed } from '../../scripts/services/table.ts'
import { sendFrame } from '../../src/transports/pulsar/protocol/frames.ts'
import { interleaved } from '../interleaved.ts'
import { rowOf, type Row, type Target } from '../measure.ts'

const keys = 1000
const bodyBytes = 200
const batch = 500
const publishedMessages = 5000
const permits = 1000
const keyShared = 3
const individual = 0

/** What one side does with a topic that is full: ns a message. */
type Consume = (client: PulsarClient, topic: string, messages: number, handlerMs: number) => Promise<number>

interface Pair {
  readonly name: string
  readonly beside: string
  readonly target: Target
  readonly handlerMs: number
  readonly ours: number
  readonly raw: { readonly consume: Consume; readonly messages: number }
}

// No other client of Pulsar runs here: the official one needs a native library that no registry has.
const pairs: readonly Pair[] = [
  {
    name: 'handler does nothing',
    beside: 'a bare loop over our protocol client, acks without receipts',
    target: { speed: 0.9 },
    handlerMs: 0,
    ours: 20_000,
    raw: { consume: rawOnArrival, messages: 20_000 },
  },
  {
    name: 'handler of 5 ms, 1,000 keys, 64 in flight',
    beside: 'the same loop, one at a time',
    target: { speed: 40 },
    handlerMs: 5,
    ours: 10_000,
    raw: { consume: rawInTurn, messages: 300 },
  },
]

/** A topic of Pulsar consumed to its end, and filled, beside the bare protocol. */
export async function* pulsarArea(rounds: number): AsyncIterable<Row> {
  const { url } = await up(serviceNamed('pulsar'), (line) => console.error(line))
  const client = pulsarClient({ serviceUrl: url })
  for (const { name, beside, target, handlerMs, ours: messages, raw } of pairs) {
    const samples = await interleaved(
      rounds,
      () => onFull(client, messages, handlerMs, ours),
      () => onFull(client, raw.messages, handlerMs, raw.consume),
    )
    yield rowOf({ area: 'pulsar', name, beside, target }, samples)
  }
  const samples = await interleaved(
    rounds,
    () => published((topic) => fill(client, topic, publishedMessages)),
    () => published((topic) => fillRaw(client, topic)),
  )
  const name = 'publish 200 bytes, 1,000 keys, 500 a call'
  yield rowOf({ area: 'pulsar', name, beside: 'the bare protocol, 500 at a time', target: null }, samples)
  client.close()
}

let count = 0

function freshTopic(): string {
  return `bench-${process.pid}-${count++}`
}

async function onFull(client: PulsarClient, messages: number, handlerMs: number, consume: Consume): Promise<number> {
  const topic = freshTopic()
  await fill(client, topic, messages)
  return consume(client, topic, messages, handlerMs)
}

async function published(publish: (topic: string) => Promise<void>): Promise<number> {
  const topic = freshTopic()
  const startMs = performance.now()
  await publish(topic)
  return ((performance.now() - startMs) * 1e6) / publishedMessages
}

async function fill(client: PulsarClient, topic: string, messages: number): Promise<void> {
  const publisher = pulsarPublisher(client)
  for (let from = 0; from < messages; from += batch)
    await publisher.publish(
      Array.from({ length: Math.min(batch, messages - from) }, (_, at) =>
        outgoing({
          destination: topic,
          id: `m${from + at}`,
          key: `k${(from + at) % keys}`,
          body: Buffer.alloc(bodyBytes),
        }),
      ),
    )
  await publisher.close()
}

async function fillRaw(client: PulsarClient, topic: string): Promise<void> {
  const connection = await client.connectionFor(topic)
  const producerId = 1_000_000 + count
  const producerName = `bench-${topic}`
  let receipts = 0
  let received = (): void => {}
  connection.producers.set(producerId, {
    receipt() {
      receipts++
      received()
    },
    closed: () => {},
  })
  const full = `persistent://public/default/${topic}`
  await connection.request('producer', { topic: full, producerId, producerName, isNameGiven: true })
  const body = Buffer.alloc(bodyBytes)
  for (let sequenceId = 0; sequenceId < publishedMessages; sequenceId++) {
    const metadata = { producerName, sequenceId, publishTime: Date.now(), partitionKey: `k${sequenceId % keys}` }
    connection.write(sendFrame({ producerId, sequenceId, messages: 1 }, metadata, body))
    const until = sequenceId + 1
    if (until % batch !== 0) continue
    const { promise: done, resolve } = Promise.withResolvers<undefined>()
    received = () => {
      if (receipts === until) resolve(undefined)
    }
    received()
    await done
  }
  connection.producers.delete(producerId)
  await connection.request('closeProducer', { producerId })
}

const ours: Consume = async (client, topic, messages, handlerMs) => {
  const { promise: done, resolve } = Promise.withResolvers<undefined>()
  let left = messages
  let startMs: number | undefined
  const work = async (): Promise<void> => {
    startMs ??= performance.now()
    await wait(handlerMs)
    if (--left === 0) resolve(undefined)
  }
  const stopping = new AbortController()
  const consumer = pulsarConsumer({
    ...{ client, topics: [topic], subscription: 'bench', pipeline: pipeline('bench').handle(work), window: permits },
  })
  const running = consumer.run(stopping.signal)
  await done
  const ms = performance.now() - (startMs ?? NaN)
  stopping.abort()
  await running
  return (ms * 1e6) / messages
}

/** Nothing waits for a handler: what dies with the process is lost. */
function rawOnArrival(client: PulsarClient, topic: string, messages: number): Promise<number> {
  return raw(client, topic, messages, permits, (done) => done())
}

/** Each after the other is done: the only way to keep order without lanes. */
function rawInTurn(client: PulsarClient, topic: string, messages: number, handlerMs: number): Promise<number> {
  return raw(client, topic, messages, 1, (done) => void wait(handlerMs).then(done))
}

async function raw(
  client: PulsarClient,
  topic: string,
  messages: number,
  window: number,
  handle: (done: () => void) => void,
): Promise<number> {
  const connection = await client.connectionFor(topic)
  const consumerId = 1_000_000 + count
  const { promise: all, resolve } = Promise.withResolvers<undefined>()
  const lot = Math.ceil(window / 2)
  let left = messages
  let startMs: number | undefined
  connection.consumers.set(consumerId, {
    arrived({ messageId = {} }) {
      startMs ??= performance.now()
      handle(() => {
        connection.send('ack', { consumerId, type: individual, messageIds: [messageId] })
        if (--left % lot === 0) connection.send('flow', { consumerId, permits: lot })
        if (left === 0) resolve(undefined)
      })
    },
    closed: () => {},
  })
  await connection.request('subscribe', {
    ...{ topic: `persistent://public/default/${topic}`, subscription: 'raw', type: keyShared, consumerId },
    ...{ isDurable: true, initialPosition: 1, keyShared: { mode: 0, allowsDisorder: false } },
  })
  connection.send('flow', { consumerId, permits: window })
  await all
  const ms = performance.now() - (startMs ?? NaN)
  connection.consumers.delete(consumerId)
  await connection.request('closeConsumer', { consumerId })
  return (ms * 1e6) / messages
}

async function wait(ms: number): Promise<void> {
  if (ms > 0) await new Promise((after) => setTimeout(after, ms))
}
