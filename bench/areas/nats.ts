import { AckPolicy, jetstream, jetstreamManager, type JetStreamClient, type JetStreamManager } from '@nats-io/jetstream'
import { Kvm, type KV } from '@nats-io/kv'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { pipeline } from 'holdfast'
import { natsConsumer, natsPublisher } from 'holdfast/nats'
import { up } from '../../scripts/services/manager.ts'
import { serviceNamed } from '../../scripts/services/table.ts'
import type { Row } from '../measure.ts'
import {
  batch,
  bodyBytes,
  brokerRows,
  consumed,
  countdown,
  fillWith,
  publishedMessages,
  wait,
  type Consume,
  type Pair,
} from './brokers.ts'

const ahead = 1000

interface Bench {
  readonly nc: NatsConnection
  readonly js: JetStreamClient
  readonly jsm: JetStreamManager
  readonly kv: KV
}

const pairs: readonly Pair<Bench>[] = [
  {
    name: 'handler does nothing',
    beside: 'consume() and ack()',
    target: { speed: 0.6 },
    handlerMs: 0,
    ours: 40_000,
    raw: { consume: rawSideBySide, messages: 40_000 },
  },
  {
    name: 'handler of 5 ms, 1,000 keys, 64 in flight',
    beside: 'consume() and ack(), one at a time',
    target: { speed: 40 },
    handlerMs: 5,
    ours: 10_000,
    raw: { consume: rawInTurn, messages: 300 },
  },
]

/** A stream of one partition consumed to its end, and filled, beside NATS' client alone. */
export async function* natsArea(rounds: number): AsyncIterable<Row> {
  const { url } = await up(serviceNamed('nats'), (line) => console.error(line))
  const nc = await connect({ servers: url, noAsyncTraces: true })
  const js = jetstream(nc)
  const bucket = `bench-${process.pid}`
  const bench: Bench = { nc, js, jsm: await jetstreamManager(nc), kv: await new Kvm(js).create(bucket) }
  yield* brokerRows(rounds, {
    ...{ area: 'nats', bench, pairs, ours },
    inPlace: (use) => withStream(bench, use),
    fill: (stream, messages) => fillWith(natsPublisher(js), `${stream}.0`, messages),
    publishing: {
      name: 'publish 200 bytes with six headers, 500 a call',
      beside: 'js.publish, without headers',
      raw: (stream) => fillRaw(bench, stream),
    },
  })
  await bench.jsm.streams.delete(`KV_${bucket}`)
  await nc.close()
}

let count = 0

async function withStream<T>({ jsm }: Bench, use: (stream: string) => Promise<T>): Promise<T> {
  const name = `bench-${process.pid}-${count++}`
  await jsm.streams.add({ name, subjects: [`${name}.*`] })
  try {
    return await use(name)
  } finally {
    await jsm.streams.delete(name)
  }
}

async function fillRaw({ js }: Bench, stream: string): Promise<void> {
  for (let from = 0; from < publishedMessages; from += batch)
    await Promise.all(
      Array.from({ length: batch }, (_, at) =>
        js.publish(`${stream}.0`, Buffer.alloc(bodyBytes), { msgID: `m${from + at}` }),
      ),
    )
}

const ours: Consume<Bench> = (bench, stream, messages, handlerMs) => {
  const counted = countdown(messages, handlerMs)
  const consumer = natsConsumer({
    ...bench,
    ...{ stream, group: stream, partitions: [{ name: '0', filter: `${stream}.0` }], ahead, concurrency: 64 },
    pipeline: pipeline('bench').handle(counted.work),
  })
  return consumed(consumer, counted, messages)
}

/** As many un-acked as ours may have, and the handlers side by side: no order. The clock starts with the first message, as ours. */
function rawSideBySide(bench: Bench, stream: string, messages: number, handlerMs: number): Promise<number> {
  return raw(bench, stream, messages, (handled) => {
    void wait(handlerMs).then(handled)
  })
}

/** Each after the other is done: the only way to keep order without lanes. */
function rawInTurn(bench: Bench, stream: string, messages: number, handlerMs: number): Promise<number> {
  let last = Promise.resolve()
  return raw(bench, stream, messages, (handled) => {
    last = last.then(() => wait(handlerMs)).then(handled)
  })
}

async function raw(
  { js, jsm }: Bench,
  stream: string,
  messages: number,
  handle: (handled: () => void) => void,
): Promise<number> {
  const { name } = await jsm.consumers.add(stream, {
    durable_name: 'raw',
    ack_policy: AckPolicy.Explicit,
    max_ack_pending: 2 * ahead,
  })
  const consumer = await js.consumers.get(stream, name)
  const { promise: done, resolve } = Promise.withResolvers<undefined>()
  let left = messages
  let startMs: number | undefined
  const reading = await consumer.consume({
    max_messages: 1000,
    callback(message) {
      startMs ??= performance.now()
      handle(() => {
        message.ack()
        if (--left === 0) resolve(undefined)
      })
    },
  })
  await done
  const ms = performance.now() - (startMs ?? NaN)
  reading.stop()
  return (ms * 1e6) / messages
}
