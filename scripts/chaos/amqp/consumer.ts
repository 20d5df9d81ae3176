import { plant } from '../brokers/plant.ts'
import { work, type WorkerSettings } from '../brokers/worker.ts'
import { patches } from './breaks.ts'
import { connectTo } from './connect.ts'

export interface AmqpWorkerSettings extends WorkerSettings {
  readonly window: number
}

/** One consumer process of the crash run. It reads its settings from its first argument. */
const settings = JSON.parse(process.argv[2] ?? '{}') as AmqpWorkerSettings
const { url, group, concurrency, window, planted } = settings
plant(patches, planted)
const { amqpConsumer, queue } = await import('../../../src/transports/amqp/index.ts')

await work(settings, (pipeline) => {
  const connection = connectTo(url, `${group}-${process.pid}`)
  const consumer = amqpConsumer({
    ...{ connection, sources: [queue(group)], pipeline, concurrency, window },
    ...{ redeliverMs: 50, drainMs: 8000 },
  })
  return Promise.resolve({
    consumer,
    close() {
      connection.close()
      return Promise.resolve()
    },
  })
})
