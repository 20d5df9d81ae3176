import { AsyncLocalStorage } from 'node:async_hooks'
import { subscribe } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'
import { Admin, Consumer, Producer } from '@platformatic/kafka'
import type { Outgoing } from 'holdfast'
import { platformaticKafkaConsumer, platformaticKafkaPublisher } from 'holdfast/platformatic-kafka'
import { addressOf } from '../../services.ts'
import type { Broker } from '../backend.ts'
import { serviceNames, type ServiceName } from '../plan.ts'
import { unreachable } from './unreachable.ts'

const partitions = 8
// The shortest that Kafka allows: so long it takes until a killed consumer is missed.
const sessionMs = 6_000

export async function platformaticKafkaBackend(address: string | true): Promise<Broker> {
  const bootstrapBrokers = (address === true ? await addressOf('kafka') : address).split(',')
  const run = `coffee-store-${Date.now().toString(36)}`
  const ordersTopic = `${run}.orders`
  const deadLetterTopic = (service: ServiceName) => `${run}.${service}.dead-letters`
  const topics = [ordersTopic, ...serviceNames.map(deadLetterTopic)]

  const connection = { clientId: run, bootstrapBrokers }
  const admin = new Admin({ ...connection, retries: 1 })
  await admin
    .createTopics({ topics, partitions, replicas: 1 })
    .catch((error: unknown) => unreachable('Kafka', 'kafka', bootstrapBrokers.join(','), error, 'platformatic-kafka'))
  const producer = new Producer({ ...connection, idempotent: true, retries: 3, requestTimeout: 5_000 })

  return {
    publisher: platformaticKafkaPublisher(producer),
    ordersTopic,
    deadLetterTopic,
    async consume(service, pipeline) {
      const wire = cuttable()
      const stopping = new AbortController()
      const consumer = platformaticKafkaConsumer({
        ...{ connection, groupId: `${run}.${service}`, topics: [ordersTopic], pipeline },
        ...{ sessionMs, rebalanceMs: 10_000, drainMs: 3_000, maxWaitMs: 100 },
      })
      const running = wire.within(() => consumer.run(stopping.signal))
      async function end(): Promise<void> {
        stopping.abort()
        await running
      }
      return {
        async crash() {
          wire.cut()
          // What is left of it ends in its own time, and reaches nobody.
          end().catch(() => {})
        },
        stop: end,
      }
    },
    deadLetters: (service) => readAll(connection, deadLetterTopic(service)),
    patienceMs: 40_000,
    async close() {
      await producer.close()
      await admin.deleteTopics({ topics })
      await admin.close()
    },
  }
}

interface Wire {
  readonly sockets: Set<Socket>
  isCut: boolean
}

const wires = new AsyncLocalStorage<Wire>()
subscribe('net.client.socket', (message) => {
  const { socket } = message as { readonly socket: Socket }
  const wire = wires.getStore()
  if (wire === undefined) return
  wire.sockets.add(socket)
  socket.once('close', () => wire.sockets.delete(socket))
  if (wire.isCut) socket.destroy(new Error('this process is dead'))
})

/** Connections that can be cut from one moment to the next, as the end of a process does: those that `work` opens. */
function cuttable() {
  const wire: Wire = { sockets: new Set(), isCut: false }
  return {
    within: <T>(work: () => T): T => wires.run(wire, work),
    cut() {
      wire.isCut = true
      for (const socket of wire.sockets) socket.destroy()
    },
  }
}

/** What a topic holds from its beginning to its present end. */
async function readAll(
  connection: { readonly clientId: string; readonly bootstrapBrokers: string[] },
  topic: string,
): Promise<readonly Pick<Outgoing, 'id' | 'body'>[]> {
  const consumer = new Consumer({ ...connection, groupId: `${topic}.audit` })
  const ends = (await consumer.listOffsets({ topics: [topic] })).get(topic) ?? []
  let missing = ends.reduce((sum, end) => sum + Number(end), 0)
  const found: Pick<Outgoing, 'id' | 'body'>[] = []
  if (missing > 0) {
    const messages = await consumer.consume({ topics: [topic], mode: 'earliest', maxWaitTime: 100 })
    for await (const { headers, value } of messages) {
      const id = [...headers].find(([name]) => String(name) === 'message-id')?.[1]
      found.push({ id: String(id), body: value })
      if (--missing === 0) break
    }
    await messages.close()
  }
  await consumer.close()
  return found
}
