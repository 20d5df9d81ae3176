import { jetstream, jetstreamManager, type JetStreamManager } from '@nats-io/jetstream'
import { Kvm } from '@nats-io/kv'
import { connect, type NatsConnection } from '@nats-io/transport-node'
import type { Outgoing } from 'holdfast'
import { bySubject, natsConsumer, natsPublisher, numberedPartitions } from 'holdfast/nats'
import { addressOf } from '../../services.ts'
import type { Broker } from '../backend.ts'
import type { ServiceName } from '../plan.ts'
import { cuttable } from './cuttable.ts'
import { unreachable } from './unreachable.ts'

const partitions = 8
// So long it takes until a killed consumer is missed.
const leaseMs = 2_000

export async function natsBackend(address: string | true): Promise<Broker> {
  const url = address === true ? await addressOf('nats') : address
  const run = `coffee-store-${Date.now().toString(36)}`
  const ordersTopic = `${run}-orders`
  const deadLetterStream = `${run}-dead-letters`
  const deadLetterTopic = (service: ServiceName) => `${deadLetterStream}.${service}`

  const nc = await connect({ servers: url, noAsyncTraces: true }).catch((error: unknown) =>
    unreachable('NATS', 'nats', new URL(url).host, error),
  )
  const js = jetstream(nc)
  const jsm = await jetstreamManager(nc)
  await jsm.streams.add({ name: ordersTopic, subjects: [`${ordersTopic}.*`] })
  await jsm.streams.add({ name: deadLetterStream, subjects: [`${deadLetterStream}.*`] })
  await new Kvm(js).create(run)
  const toOrders = bySubject(partitions)

  return {
    publisher: natsPublisher(js, {
      jsm,
      subject: (message) => (message.destination === ordersTopic ? toOrders(message) : message.destination),
      // The shop sends orders twice on purpose, and the server would drop the second.
      dedupe: null,
    }),
    ordersTopic,
    deadLetterTopic,
    async consume(service, pipeline) {
      const wire = await cuttable(new URL(url), 4222)
      const own = await connect({ servers: wire.url, maxReconnectAttempts: -1, ignoreClusterUpdates: true })
      const client = jetstream(own)
      const stopping = new AbortController()
      const consumer = natsConsumer({
        ...{ nc: own, js: client, jsm: await jetstreamManager(own), kv: await new Kvm(client).open(run) },
        ...{ stream: ordersTopic, group: service, partitions: numberedPartitions(ordersTopic, partitions) },
        ...{ pipeline, leaseMs, shareEveryMs: 200 },
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
    deadLetters: (service) => readAll(nc, jsm, deadLetterStream, deadLetterTopic(service)),
    patienceMs: 20_000,
    async close() {
      for (const stream of [ordersTopic, deadLetterStream, `KV_${run}`]) await jsm.streams.delete(stream)
      await nc.close()
    },
  }
}

/** What a stream holds under a subject. */
async function readAll(
  nc: NatsConnection,
  jsm: JetStreamManager,
  stream: string,
  subject: string,
): Promise<readonly Pick<Outgoing, 'id' | 'body'>[]> {
  const { name, num_pending: count } = await jsm.consumers.add(stream, { filter_subject: subject, ack_policy: 'none' })
  const consumer = await jetstream(nc).consumers.get(stream, name)
  const found: Pick<Outgoing, 'id' | 'body'>[] = []
  while (found.length < count) {
    const message = await consumer.next()
    if (message === null) break
    found.push({ id: message.headers?.get('message-id') ?? '', body: message.data })
  }
  await jsm.consumers.delete(stream, name)
  return found
}
