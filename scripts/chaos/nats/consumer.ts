import { setTimeout as sleep } from 'node:timers/promises'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { Kvm, type KV } from '@nats-io/kv'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import { plant } from '../brokers/plant.ts'
import { work, type WorkerSettings } from '../brokers/worker.ts'
import { patches } from './breaks.ts'

export interface NatsWorkerSettings extends WorkerSettings {
  readonly partitions: number
  readonly ahead: number
  readonly leaseMs: number
}

/** One consumer process of the crash run. It reads its settings from its first argument. */
const settings = JSON.parse(process.argv[2] ?? '{}') as NatsWorkerSettings
const { url, group, concurrency, ahead, leaseMs, planted } = settings
plant(patches, planted)
const { natsConsumer, numberedPartitions } = await import('../../../src/transports/jetstream/index.ts')

await work(settings, async (pipeline) => {
  const nc = await connect({
    ...{ servers: url, maxReconnectAttempts: -1, waitOnFirstConnect: true, reconnectTimeWait: 100 },
    ...{ ignoreClusterUpdates: true, noAsyncTraces: true, pingInterval: 1000 },
  })
  const js = jetstream(nc, { timeout: 2000 })
  const consumer = natsConsumer({
    ...{ nc, js, jsm: await jetstreamManager(nc, { timeout: 2000, checkAPI: false }), kv: await bucket(nc) },
    ...{ stream: group, group, partitions: numberedPartitions(group, settings.partitions), pipeline },
    ...{ concurrency, ahead, leaseMs, redeliverMs: 50, drainMs: 8000 },
  })
  return { consumer, close: () => nc.close() }
})

/** A connection that is cut just now loses the answer. */
async function bucket(nc: NatsConnection): Promise<KV> {
  for (let tries = 1; ; tries++)
    try {
      return await new Kvm(jetstream(nc, { timeout: 2000 })).open(group)
    } catch (error) {
      if (tries === 10) throw error
      await sleep(200)
    }
}
