import { join } from 'node:path'
import amqp from 'amqplib'
import { byKey, queueArguments, rabbitmqPublisher } from '../../../src/transports/rabbitmq/index.ts'
import { privateRabbitmq } from '../../../test/support/private-servers.ts'
import { crashRun, type Prepared } from '../brokers/crash-run.ts'
import { breaks } from './breaks.ts'

const queueCount = 6

process.exit(
  await crashRun({
    script: 'chaos:rabbitmq',
    broker: 'RabbitMQ',
    newest: 'RabbitMQ 4',
    breaks,
    program: join(import.meta.dirname, 'consumer.ts'),
    start: (newest) => privateRabbitmq({ flavour: newest ? 'newest' : 'debian' }),
    through: ({ address }) => `amqp://guest:guest@${address}?heartbeat=2`,
    prepare,
  }),
)

async function prepare(url: string, name: string, planted: string | undefined): Promise<Prepared> {
  const connection = await amqp.connect(url, { recovery: { initialDelay: 100, maxDelay: 1000 } })
  connection.on('error', () => {})
  const queues = Array.from({ length: queueCount }, (_, number) => `${name}.${number}`)
  const channel = await connection.createChannel()
  await channel.assertExchange(name, 'direct', { durable: true })
  for (const [number, queue] of queues.entries()) {
    const order = planted === 'no-single-active' ? 'none' : 'key'
    await channel.assertQueue(queue, { arguments: queueArguments(order) })
    await channel.bindQueue(queue, name, String(number))
  }
  await channel.close()
  return {
    publisher: rabbitmqPublisher(connection, { route: byKey(queueCount), timeoutMs: 5000 }),
    settings: { queues, prefetch: 64 },
    close: () => connection.close(),
  }
}
