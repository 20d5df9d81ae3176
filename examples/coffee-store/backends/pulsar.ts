import { pipeline, type Outgoing } from 'holdfast'
import { pulsarClient, pulsarConsumer, pulsarPublisher } from 'holdfast/pulsar'
import { addressOf } from '../../services.ts'
import type { Broker } from '../backend.ts'
import { serviceNames, type ServiceName } from '../plan.ts'
import { unreachable } from './unreachable.ts'

export async function pulsarBackend(address: string | true): Promise<Broker> {
  const url = address === true ? await addressOf('pulsar') : address
  const run = `coffee-store-${Date.now().toString(36)}`
  const ordersTopic = `${run}.orders`
  const deadLetterTopic = (service: ServiceName) => `${run}.${service}.dead-letters`

  const client = pulsarClient({ serviceUrl: url })
  // Every service has a subscription of its own, there before the first order, and so gets all of them.
  for (const service of serviceNames)
    await whileConsuming(ordersTopic, service).catch((error: unknown) =>
      unreachable('Pulsar', 'pulsar', new URL(url).host, error),
    )

  /** Consumes for a moment: makes what is not there yet, and hands over what is. */
  async function whileConsuming(
    topic: string,
    subscription: string,
    take: (message: Pick<Outgoing, 'id' | 'body'>) => void = () => {},
  ): Promise<void> {
    const stopping = new AbortController()
    let lastMs = performance.now()
    const taking = pipeline(run).handle(({ message }) => {
      lastMs = performance.now()
      take(message)
    })
    const options = { client, subscription, topics: [topic], pipeline: taking, connectWithinMs: 5_000 }
    const consumer = pulsarConsumer(options)
    const running = consumer.run(stopping.signal)
    running.catch(() => stopping.abort())
    while (!stopping.signal.aborted && !(consumer.health().ready && performance.now() - lastMs > 300)) await pause()
    stopping.abort()
    await running
  }

  return {
    publisher: pulsarPublisher(client),
    ordersTopic,
    deadLetterTopic,
    async consume(service, pipeline) {
      const own = pulsarClient({ serviceUrl: url })
      const stopping = new AbortController()
      const consumer = pulsarConsumer({ client: own, subscription: service, topics: [ordersTopic], pipeline })
      const running = consumer.run(stopping.signal)
      async function end(): Promise<void> {
        stopping.abort()
        await running
        own.close()
      }
      return {
        crash() {
          // Its sockets are gone from one moment to the next, and nothing is said to the broker.
          own.close()
          void end()
          return Promise.resolve()
        },
        stop: end,
      }
    },
    async deadLetters(service) {
      const found: Pick<Outgoing, 'id' | 'body'>[] = []
      await whileConsuming(deadLetterTopic(service), 'audit', ({ id, body }) => void found.push({ id, body }))
      return found
    },
    patienceMs: 20_000,
    close() {
      client.close()
      return Promise.resolve()
    },
  }
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20))
}
