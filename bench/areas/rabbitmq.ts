import { connect, type ConfirmChannel, type RecoveringChannelModel } from 'amqplib'
import { outgoing, pipeline } from 'holdfast'
import { queueArguments, rabbitmqConsumer, rabbitmqPublisher } from 'holdfast/rabbitmq'
import { up } from '../../scripts/services/manager.ts'
import { serviceNamed } from '../../scripts/services/table.ts'
import { interleaved } from '../interleaved.ts'
import { rowOf, type Row, type Target } from '../measure.ts'

const prefetch = 256
const keys = 1000
const bodyBytes = 200
const batch = 500

/** What one side does with a queue that is full: ns a message. */
type Consume = (bench: Bench, queue: string, messages: number, handlerMs: number) => Promise<number>

interface Bench {
  readonly connection: RecoveringChannelModel
  readonly admin: ConfirmChannel
}

interface Pair {
  readonly name: string
  readonly beside: string
  readonly target: Target
  readonly handlerMs: number
  readonly ours: number
  readonly raw: { readonly prefetch: number; readonly messages: number }
}

const pairs: readonly Pair[] = [
  {
    name: 'handler does nothing',
    beside: 'amqplib, prefetch 256',
    target: { speed: 0.9 },
    handlerMs: 0,
    ours: 20_000,
    raw: { prefetch, messages: 20_000 },
  },
  {
    name: 'handler of 5 ms, 1,000 keys, 64 in flight',
    beside: 'amqplib, prefetch 1',
    target: { speed: 60 },
    handlerMs: 5,
    ours: 10_000,
    raw: { prefetch: 1, messages: 300 },
  },
]

/** A quorum queue with a single active consumer consumed to its end, and filled, beside amqplib alone. */
export async function* rabbitmqArea(rounds: number): AsyncIterable<Row> {
  const { url } = await up(serviceNamed('rabbitmq'), (line) => console.error(line))
  const connection = await connect(url, { recovery: true })
  connection.on('error', () => {})
  const bench: Bench = { connection, admin: await connection.createConfirmChannel() }
  for (const pair of pairs) {
    const samples = await interleaved(
      rounds,
      () => onFull(bench, pair.ours, pair.handlerMs, ours),
      () => onFull(bench, pair.raw.messages, pair.handlerMs, rawWith(pair.raw.prefetch)),
    )
    yield rowOf({ area: 'rabbitmq', name: pair.name, beside: pair.beside, target: pair.target }, samples)
  }
  const samples = await interleaved(
    rounds,
    () => published(bench, (queue) => fill(bench, queue, 5000)),
    () => published(bench, (queue) => fillRaw(bench, queue, 5000)),
  )
  const name = 'publish 200 bytes with six headers, 500 a call'
  yield rowOf({ area: 'rabbitmq', name, beside: 'amqplib confirms, without headers', target: null }, samples)
  await connection.close()
}

let count = 0

async function withQueue<T>({ admin }: Bench, use: (queue: string) => Promise<T>): Promise<T> {
  const queue = `bench-${process.pid}-${count++}`
  await admin.assertQueue(queue, { arguments: queueArguments() })
  try {
    return await use(queue)
  } finally {
    await admin.deleteQueue(queue)
  }
}

function onFull(bench: Bench, messages: number, handlerMs: number, consume: Consume): Promise<number> {
  return withQueue(bench, async (queue) => {
    await fill(bench, queue, messages)
    return consume(bench, queue, messages, handlerMs)
  })
}

function published(bench: Bench, publish: (queue: string) => Promise<void>): Promise<number> {
  return withQueue(bench, async (queue) => {
    const startMs = performance.now()
    await publish(queue)
    return ((performance.now() - startMs) * 1e6) / 5000
  })
}

async function fill({ connection }: Bench, queue: string, messages: number): Promise<void> {
  const publisher = rabbitmqPublisher(connection)
  for (let from = 0; from < messages; from += batch)
    await publisher.publish(
      Array.from({ length: Math.min(batch, messages - from) }, (_, at) =>
        outgoing({
          destination: queue,
          id: `m${from + at}`,
          key: `k${(from + at) % keys}`,
          body: Buffer.alloc(bodyBytes),
        }),
      ),
    )
  await publisher.close()
}

async function fillRaw({ admin }: Bench, queue: string, messages: number): Promise<void> {
  for (let from = 0; from < messages; from += batch) {
    for (let at = 0; at < batch; at++)
      admin.sendToQueue(queue, Buffer.alloc(bodyBytes), { persistent: true, messageId: `m${from + at}` })
    await admin.waitForConfirms()
  }
}

const ours: Consume = async ({ connection }, queue, messages, handlerMs) => {
  const { promise: done, resolve } = Promise.withResolvers<undefined>()
  let left = messages
  const work = async (): Promise<void> => {
    if (handlerMs > 0) await new Promise((after) => setTimeout(after, handlerMs))
    if (--left === 0) resolve(undefined)
  }
  const stopping = new AbortController()
  const consumer = rabbitmqConsumer({
    ...{ connection, queues: [queue], pipeline: pipeline('bench').handle(work), prefetch, concurrency: 64 },
    // The other side does not look at its queue either.
    checkQueues: false,
  })
  const startMs = performance.now()
  const running = consumer.run(stopping.signal)
  await done
  const ms = performance.now() - startMs
  stopping.abort()
  await running
  return (ms * 1e6) / messages
}

function rawWith(rawPrefetch: number): Consume {
  return async ({ connection }, queue, messages, handlerMs) => {
    const channel = await connection.createChannel()
    await channel.prefetch(rawPrefetch)
    const { promise: done, resolve } = Promise.withResolvers<undefined>()
    let left = messages
    const startMs = performance.now()
    await channel.consume(queue, (message) => {
      if (message !== null) void handle(message)
    })
    async function handle(message: Parameters<typeof channel.ack>[0]): Promise<void> {
      if (handlerMs > 0) await new Promise((after) => setTimeout(after, handlerMs))
      channel.ack(message)
      if (--left === 0) resolve(undefined)
    }
    await done
    const ms = performance.now() - startMs
    await channel.close()
    return (ms * 1e6) / messages
  }
}
