import { connect, type ConfirmChannel, type RecoveringChannelModel } from 'amqplib'
import { pipeline } from 'holdfast'
import { queueArguments, rabbitmqConsumer, rabbitmqPublisher } from 'holdfast/rabbitmq'
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

const prefetch = 256

interface Bench {
  readonly connection: RecoveringChannelModel
  readonly admin: ConfirmChannel
}

const pairs: readonly Pair<Bench>[] = [
  {
    name: 'handler does nothing',
    beside: 'amqplib, prefetch 256',
    target: { speed: 0.9 },
    handlerMs: 0,
    ours: 20_000,
    raw: { consume: rawWith(prefetch), messages: 20_000 },
  },
  {
    name: 'handler of 5 ms, 1,000 keys, 64 in flight',
    beside: 'amqplib, prefetch 1',
    target: { speed: 60 },
    handlerMs: 5,
    ours: 10_000,
    raw: { consume: rawWith(1), messages: 300 },
  },
]

/** A quorum queue with a single active consumer consumed to its end, and filled, beside amqplib alone. */
export async function* rabbitmqArea(rounds: number): AsyncIterable<Row> {
  const { url } = await up(serviceNamed('rabbitmq'), (line) => console.error(line))
  const connection = await connect(url, { recovery: true })
  connection.on('error', () => {})
  const bench: Bench = { connection, admin: await connection.createConfirmChannel() }
  yield* brokerRows(rounds, {
    ...{ area: 'rabbitmq', bench, pairs, ours },
    inPlace: (use) => withQueue(bench, use),
    fill: (queue, messages) => fillWith(rabbitmqPublisher(connection), queue, messages),
    publishing: {
      name: 'publish 200 bytes with six headers, 500 a call',
      beside: 'amqplib confirms, without headers',
      raw: (queue) => fillRaw(bench, queue),
    },
  })
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

async function fillRaw({ admin }: Bench, queue: string): Promise<void> {
  for (let from = 0; from < publishedMessages; from += batch) {
    for (let at = 0; at < batch; at++)
      admin.sendToQueue(queue, Buffer.alloc(bodyBytes), { persistent: true, messageId: `m${from + at}` })
    await admin.waitForConfirms()
  }
}

const ours: Consume<Bench> = async ({ connection }, queue, messages, handlerMs) => {
  const { work, done } = countdown(messages, handlerMs)
  const consumer = rabbitmqConsumer({
    ...{ connection, queues: [queue], pipeline: pipeline('bench').handle(work), prefetch, concurrency: 64 },
    // The other side does not look at its queue either.
    checkQueues: false,
  })
  // Both clocks start before the first message is asked for.
  const startMs = performance.now()
  return consumed(consumer, { done, startedMs: () => startMs }, messages)
}

function rawWith(rawPrefetch: number): Consume<Bench> {
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
      await wait(handlerMs)
      channel.ack(message)
      if (--left === 0) resolve(undefined)
    }
    await done
    const ms = performance.now() - startMs
    await channel.close()
    return (ms * 1e6) / messages
  }
}
