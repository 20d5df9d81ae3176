import { pulsarThrough } from '../../../test/support/pulsar-through.ts'
import { plant } from '../brokers/plant.ts'
import { work, type WorkerSettings } from '../brokers/worker.ts'
import { patches } from './breaks.ts'

export interface PulsarWorkerSettings extends WorkerSettings {
  readonly window: number
  readonly keepAliveMs: number
}

/** One consumer process of the crash run. It reads its settings from its first argument. */
const settings = JSON.parse(process.argv[2] ?? '{}') as PulsarWorkerSettings
const { url, group, concurrency, window, keepAliveMs, planted } = settings
plant(patches, planted)
const { pulsarConsumer } = await import('../../../src/transports/pulsar/index.ts')

await work(settings, (pipeline) => {
  const client = pulsarThrough(url, { keepAliveMs, requestMs: 5000 })
  const consumer = pulsarConsumer({
    ...{ client, topics: [group], subscription: group, pipeline, concurrency, window },
    ...{ type: planted === 'shared' ? 'Shared' : 'Key_Shared', redeliverMs: 50, drainMs: 8000 },
    // Its broker takes half a minute to start, where others work too.
    connectWithinMs: 60_000,
  })
  return Promise.resolve({
    consumer,
    close() {
      client.close()
      return Promise.resolve()
    },
  })
})
