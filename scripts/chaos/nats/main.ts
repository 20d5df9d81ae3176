import { join } from 'node:path'
import { jetstream, jetstreamManager } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import { connect } from '@nats-io/transport-node'
import { bySubject, natsPublisher } from '../../../src/transports/jetstream/index.ts'
import { privateNats } from '../../../test/support/private-servers.ts'
import { crashRun, type Prepared } from '../brokers/crash-run.ts'
import { breaks } from './breaks.ts'

const partitions = 6

process.exit(
  await crashRun({
    script: 'chaos:nats',
    broker: 'nats-server',
    newest: 'the newest nats-server',
    breaks,
    program: join(import.meta.dirname, 'consumer.ts'),
    start: (newest) => privateNats({ flavour: newest ? 'newest' : 'debian' }),
    through: ({ address }) => `nats://${address}`,
    prepare,
  }),
)

async function prepare(url: string, name: string): Promise<Prepared> {
  const nc = await connect({ servers: url, maxReconnectAttempts: -1, reconnectTimeWait: 100, noAsyncTraces: true })
  const js = jetstream(nc)
  const jsm = await jetstreamManager(nc)
  await jsm.streams.add({ name, subjects: [`${name}.*`] })
  await new Kvm(js).create(name)
  return {
    publisher: natsPublisher(js, { jsm, subject: bySubject(partitions), timeoutMs: 5000 }),
    settings: { partitions, ahead: 64, leaseMs: 3000 },
    close: () => nc.close(),
  }
}
