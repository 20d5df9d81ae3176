import { connect } from 'amqplib'
import type { Outgoing } from 'holdfast'
import { byKey, declareQueues, rabbitmqConsumer, rabbitmqPublisher, toQueue } from 'holdfast/rabbitmq'
import { addressOf } from '../../services.ts'
import type { Broker } from '../backend.ts'
import { serviceNames, type ServiceName } from '../plan.ts'
import { cuttable } from './cuttable.ts'
import { unreachable } from './unreachable.ts'

const queuesOfGroup = 8

export async function rabbitmqBackend(address: string | true): Promise<Broker> {
  const url = address === true ? await addressOf('rabbitmq') : address
  const run = `coffee-store-${Date.now().toString(36)}`
  const ordersTopic = `${run}.orders`
  const deadLetterTopic = (service: ServiceName) => `${run}.${service}.dead-letters`

  const connection = await connect(url).catch((error: unknown) =>
    unreachable('RabbitMQ', 'rabbitmq', new URL(url).host, error),
  )
  connection.on('error', () => {})
  const admin = await connection.createChannel()
  // Every group has queues of its own, there before the first order, and so gets all of them.
  const queues = new Map<ServiceName, readonly string[]>()
  for (const service of serviceNames) {
    const group = { exchange: ordersTopic, group: service, queues: queuesOfGroup }
    queues.set(service, await declareQueues(connection, group))
    await admin.assertQueue(deadLetterTopic(service), { arguments: { 'x-queue-type': 'quorum' } })
  }
  const toOrders = byKey(queuesOfGroup)

  return {
    publisher: rabbitmqPublisher(connection, {
      route: (message) => (message.destination === ordersTopic ? toOrders(message) : toQueue(message)),
    }),
    ordersTopic,
    deadLetterTopic,
    async consume(service, pipeline) {
      const wire = await cuttable(new URL(url), 5672)
      const own = await connect(wire.url, { recovery: true })
      own.on('error', () => {})
      const stopping = new AbortController()
      const consumer = rabbitmqConsumer({
        connection: own,
        queues: queues.get(service) ?? [],
        group: `${run}.${service}`,
        pipeline,
      })
      const running = consumer.run(stopping.signal)
      async function end(): Promise<void> {
        stopping.abort()
        await running
        await own.close()
        wire.close()
      }
      return {
        async crash() {
          wire.cut()
          // What is left of it ends in its own time, and reaches nobody.
          void end()
        },
        stop: end,
      }
    },
    async deadLetters(service) {
      const found: Pick<Outgoing, 'id' | 'body'>[] = []
      const queue = deadLetterTopic(service)
      for (let got = await admin.get(queue); got !== false; got = await admin.get(queue)) {
        const { properties, content } = got
        found.push({ id: String(properties.messageId), body: content })
      }
      return found
    },
    patienceMs: 20_000,
    async close() {
      for (const service of serviceNames) {
        for (const queue of queues.get(service) ?? []) await admin.deleteQueue(queue)
        await admin.deleteQueue(deadLetterTopic(service))
        await admin.deleteQueue(`${run}.${service}.members`)
      }
      await admin.deleteExchange(ordersTopic)
      await connection.close()
    },
  }
}
