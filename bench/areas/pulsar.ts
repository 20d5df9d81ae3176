import { pipeline } from 'holdfast'
import { pulsarClient, pulsarConsumer, pulsarPublisher, type PulsarClient } from 'holdfast/pulsar'
import { up } from '../../scripts/services/manager.ts'
import { serviceNamed } from '../../scripts/services/table.ts'
import { sendFrame } from '../../src/transports/pulsar/protocol/frames.ts'
import type { Row } from '../measure.ts'
import {
  batch,
  bodyBytes,
  brokerRows,
  consumed,
  countdown,
  fillWith,
  keys,
  publishedMessages,
  wait,
  type Consume,
  type Pair,
} from './brokers.ts'

const permits = 1000
const keyShared = 3
const individual = 0

// No other client of Pulsar runs here: the official one needs a native library that no registry has.
const pairs: readonly Pair<PulsarClient>[] = [
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
  yield* brokerRows(rounds, {
    ...{ area: 'pulsar', bench: client, pairs, ours },
    inPlace: (use) => use(`bench-${process.pid}-${count++}`),
    fill: (topic, messages) => fillWith(pulsarPublisher(client), topic, messages),
    publishing: {
      name: 'publish 200 bytes, 1,000 keys, 500 a call',
      beside: 'the bare protocol, 500 at a time',
      raw: (topic) => fillRaw(client, topic),
    },
  })
  client.close()
}

let count = 0

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

const ours: Consume<PulsarClient> = (client, topic, messages, handlerMs) => {
  const counted = countdown(messages, handlerMs)
  const consumer = pulsarConsumer({
    ...{ client, topics: [topic], subscription: 'bench', window: permits },
    pipeline: pipeline('bench').handle(counted.work),
  })
  return consumed(consumer, counted, messages)
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
