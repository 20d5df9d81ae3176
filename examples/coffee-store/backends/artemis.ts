import { pipeline, type Outgoing } from 'holdfast'
import { amqpConsumer, amqpPublisher, queue, subscription, topic } from 'holdfast/amqp'
import rhea, { type Connection } from 'rhea'
import { addressOf } from '../../services.ts'
import type { Broker } from '../backend.ts'
import { serviceNames, type ServiceName } from '../plan.ts'
import { cuttable } from './cuttable.ts'
import { unreachable } from './unreachable.ts'

export async function artemisBackend(address: string | true): Promise<Broker> {
  const url = address === true ? await addressOf('artemis') : address
  const run = `coffee-store-${Date.now().toString(36)}`
  const ordersTopic = `${run}.orders`
  const deadLetterTopic = (service: ServiceName) => `${run}.${service}.dead-letters`

  const connection = connect(url)
  // Every service has a subscription of its own, there before the first order, and so gets all of them.
  for (const service of serviceNames)
    await whileConsuming([subscription(ordersTopic, service)]).catch((error: unknown) =>
      unreachable('Artemis', 'artemis', new URL(url).host, error),
    )

  /** Consumes for a moment: makes what is not there yet, and hands over what is. */
  async function whileConsuming(
    sources: Parameters<typeof amqpConsumer>[0]['sources'],
    take: (message: Pick<Outgoing, 'id' | 'body'>) => void = () => {},
  ): Promise<void> {
    const stopping = new AbortController()
    let lastMs = performance.now()
    const taking = pipeline(run).handle(({ message }) => {
      lastMs = performance.now()
      take(message)
    })
    const consumer = amqpConsumer({ connection, sources, pipeline: taking, connectWithinMs: 5_000 })
    const running = consumer.run(stopping.signal)
    running.catch(() => stopping.abort())
    while (!stopping.signal.aborted && !(consumer.health().ready && performance.now() - lastMs > 300)) await pause()
    stopping.abort()
    await running
  }

  return {
    publisher: amqpPublisher(connection, {
      target: (destination) => (destination === ordersTopic ? topic(destination) : queue(destination)),
    }),
    ordersTopic,
    deadLetterTopic,
    async consume(service, pipeline) {
      const wire = await cuttable(new URL(url), 5672)
      const own = connect(wire.url)
      const stopping = new AbortController()
      const consumer = amqpConsumer({ connection: own, sources: [subscription(ordersTopic, service)], pipeline })
      const running = consumer.run(stopping.signal)
      async function end(): Promise<void> {
        stopping.abort()
        await running
        close(own)
        wire.close()
      }
      return {
        crash() {
          wire.cut()
          // What is left of it ends in its own time, and reaches nobody.
          void end()
          return Promise.resolve()
        },
        stop: end,
      }
    },
    async deadLetters(service) {
      const found: Pick<Outgoing, 'id' | 'body'>[] = []
      await whileConsuming([queue(deadLetterTopic(service))], ({ id, body }) => void found.push({ id, body }))
      return found
    },
    patienceMs: 20_000,
    close() {
      close(connection)
      return Promise.resolve()
    },
  }
}

function connect(url: string): Connection {
  const { hostname, port, username, password } = new URL(url)
  const connection = rhea.create_container().connect({
    ...{ host: hostname, port: Number(port || 5672), idle_time_out: 4_000, initial_reconnect_delay: 100 },
    ...{ username: username || 'coffee', password: password || 'store' },
  })
  connection.on('disconnected', () => {})
  return connection
}

function close(connection: Connection): void {
  // Without this, rhea connects again when the wire to it is gone.
  ;(connection as unknown as { set_reconnect(on: boolean): void }).set_reconnect(false)
  connection.close()
}

function pause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 20))
}
