import { join } from 'node:path'
import { privateActivemq, privateArtemis } from '../../../test/support/private-servers.ts'
import { crashRun, type Prepared } from '../brokers/crash-run.ts'
import { plant } from '../brokers/plant.ts'
import { breaks, patches } from './breaks.ts'
import { connectTo } from './connect.ts'

process.exit(
  await crashRun({
    script: 'chaos:amqp',
    broker: 'ActiveMQ Artemis',
    newest: 'ActiveMQ Classic, the older one, instead',
    newestKeepsOrder: false,
    breaks,
    program: join(import.meta.dirname, 'consumer.ts'),
    start: (newest) => (newest ? privateActivemq() : privateArtemis()),
    through: ({ address }) => `amqp://${address}`,
    prepare,
  }),
)

async function prepare(url: string, name: string, planted: string | undefined): Promise<Prepared> {
  plant(patches, planted)
  const { amqpPublisher } = await import('../../../src/transports/amqp/index.ts')
  const connection = connectTo(url, name)
  return {
    // Artemis drops what it has already; Classic has no such memory.
    publisher: amqpPublisher(connection, { duplicateIds: true, timeoutMs: 5000 }),
    settings: { window: 256 },
    close() {
      connection.close()
      return Promise.resolve()
    },
  }
}
