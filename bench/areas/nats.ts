import { AckPolicy, jetstream, jetstreamManager, type JetStreamClient, type JetStreamManager } from '@nats-io/jetstream'
import { Kvm, type KV } from '@nats-io/kv'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { outgoing, pipeline } from 'holdfast'
import { natsConsumer, natsPublisher } from 'holdfast/nats'
import { up } from '../../scripts/services/manager.ts'
import { serviceNamed } from '../../scripts/services/table.ts'
import { interleaved } from '../interleaved.ts'
import { rowOf, type Row, type Target } from '../measure.ts'

const keys = 1000
const bodyBytes = 200
const batch = 500
const ahead = 1000

interface Bench {
  readonly nc: NatsConnection
  readonly js: JetStreamClient
  readonly jsm: JetStreamManager
  readonly kv: KV
}

/** What one side does with a stream that is full: ns a message. */
type Consume = (bench: Bench, stream: string, messages: number, handlerMs: number) => Promise<number>

interface Pair {
  readonly name: string
  readonly beside: string
  readonly target: Target
  readonly handlerMs: number
  readonly ours: number
  readonly raw: { readonly consume: Consume; readonly messages: number }
}

const pairs: readonly Pair[] = [
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
  for (const { name, beside, target, handlerMs, ours: messages, raw } of pairs) {
    const samples = await interleaved(
      rounds,
      () => onFull(bench, messages, handlerMs, ours),
      () => onFull(bench, raw.messages, handlerMs, raw.consume),
    )
    yield rowOf({ area: 'nats', name, beside, target }, samples)
  }
  const samples = await interleaved(
    rounds,
    () => published(bench, (stream) => fill(bench, stream, 5000)),
    () => published(bench, (stream) => fillRaw(bench, stream, 5000)),
  )
  const name = 'publish 200 bytes with six headers, 500 a call'
  yield rowOf({ area: 'nats', name, beside: 'js.publish, without headers', target: null }, samples)
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

function onFull(bench: Bench, messages: number, handlerMs: number, consume: Consume): Promise<number> {
  return withStream(bench, async (stream) => {
    await fill(bench, stream, messages)
    return consume(bench, stream, messages, handlerMs)
  })
}

function published(bench: Bench, publish: (stream: string) => Promise<void>): Promise<number> {
  return withStream(bench, async (stream) => {
    const startMs = performance.now()
    await publish(stream)
    return ((performance.now() - startMs) * 1e6) / 5000
  })
}

async function fill({ js }: Bench, stream: string, messages: number): Promise<void> {
  const publisher = natsPublisher(js)
  for (let from = 0; from < messages; from += batch)
    await publisher.publish(
      Array.from({ length: Math.min(batch, messages - from) }, (_, at) =>
        outgoing({
          destination: `${stream}.0`,
          id: `m${from + at}`,
          key: `k${(from + at) % keys}`,
          body: Buffer.alloc(bodyBytes),
        }),
      ),
    )
}

async function fillRaw({ js }: Bench, stream: string, messages: number): Promise<void> {
  for (let from = 0; from < messages; from += batch)
    await Promise.all(
      Array.from({ length: batch }, (_, at) =>
        js.publish(`${stream}.0`, Buffer.alloc(bodyBytes), { msgID: `m${from + at}` }),
      ),
    )
}

const ours: Consume = async (bench, stream, messages, handlerMs) => {
  const { promise: done, resolve } = Promise.withResolvers<undefined>()
  let left = messages
  let startMs: number | undefined
  const work = async (): Promise<void> => {
    startMs ??= performance.now()
    if (handlerMs > 0) await new Promise((after) => setTimeout(after, handlerMs))
    if (--left === 0) resolve(undefined)
  }
  const stopping = new AbortController()
  const consumer = natsConsumer({
    ...bench,
    ...{ stream, group: stream, partitions: [{ name: '0', filter: `${stream}.0` }], ahead, concurrency: 64 },
    pipeline: pipeline('bench').handle(work),
  })
  const running = consumer.run(stopping.signal)
  await done
  const ms = performance.now() - (startMs ?? NaN)
  stopping.abort()
  await running
  return (ms * 1e6) / messages
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

async function wait(ms: number): Promise<void> {
  if (ms > 0) await new Promise((after) => setTimeout(after, ms))
}
