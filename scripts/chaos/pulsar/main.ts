import { join } from 'node:path'
import { pipeline } from '../../../src/core/pipeline.ts'
import {
  pulsarClient,
  pulsarConsumer,
  pulsarPublisher,
  type PulsarClient,
} from '../../../src/transports/pulsar/index.ts'
import { privatePulsar } from '../../../test/support/private-servers.ts'
import { crashRun, type Prepared } from '../brokers/crash-run.ts'
import { breaks } from './breaks.ts'

// The broker takes a member for dead after twice this: sooner than a stopped process goes on.
const keepAliveSeconds = 2

process.exit(
  await crashRun({
    script: 'chaos:pulsar',
    broker: 'Apache Pulsar',
    breaks,
    program: join(import.meta.dirname, 'consumer.ts'),
    start: () => privatePulsar({ settings: [`keepAliveIntervalSeconds=${keepAliveSeconds}`] }),
    through: ({ address }) => address,
    prepare,
  }),
)

async function prepare(url: string, name: string, planted: string | undefined): Promise<Prepared> {
  const client = pulsarClient({ serviceUrl: url, keepAliveMs: 1000 * keepAliveSeconds })
  await subscribed(client, name, planted)
  return {
    publisher: pulsarPublisher(client, { timeoutMs: 5000 }),
    settings: { window: 256, keepAliveMs: 1000 * keepAliveSeconds },
    close() {
      client.close()
      return Promise.resolve()
    },
  }
}

/** A topic without a subscription may let its first messages go. */
async function subscribed(client: PulsarClient, name: string, planted: string | undefined): Promise<void> {
  const stop = new AbortController()
  const consumer = pulsarConsumer({
    ...{ client, topics: [name], subscription: name, pipeline: pipeline(name).handle(() => {}) },
    type: planted === 'shared' ? 'Shared' : 'Key_Shared',
  })
  const running = consumer.run(stop.signal)
  running.catch(() => stop.abort())
  while (!consumer.health().ready && !stop.signal.aborted) await new Promise((after) => void setTimeout(after, 50))
  stop.abort()
  await running
}
