import amqp from 'amqplib'
import { plant } from '../brokers/plant.ts'
import { work, type WorkerSettings } from '../brokers/worker.ts'
import { patches } from './breaks.ts'

export interface RabbitmqWorkerSettings extends WorkerSettings {
  readonly queues: readonly string[]
  readonly prefetch: number
}

/** One consumer process of the crash run. It reads its settings from its first argument. */
const settings = JSON.parse(process.argv[2] ?? '{}') as RabbitmqWorkerSettings
const { url, queues, group, concurrency, prefetch, planted } = settings
plant(patches, planted)
const { rabbitmqConsumer } = await import('../../../src/transports/rabbitmq/index.ts')

await work(settings, async (pipeline) => {
  const connection = await amqp.connect(url, { recovery: { initialDelay: 100, maxDelay: 1000 } })
  connection.on('error', () => {})
  const consumer = rabbitmqConsumer({
    ...{ connection, queues, group, pipeline, concurrency, prefetch },
    ...{ redeliverMs: 50, drainMs: 8000, checkQueues: planted !== 'no-single-active' },
  })
  return { consumer, close: () => connection.close() }
})
