import type { Consumer } from '../../src/consumer/consumer.ts'
import type { Pipeline } from '../../src/core/pipeline.ts'
import type { Publisher } from '../../src/core/publisher.ts'
import { amqpConsumer, amqpPublisher, queue } from '../../src/transports/amqp/index.ts'
import { pulsarClient, pulsarConsumer, pulsarPublisher } from '../../src/transports/pulsar/index.ts'
import { connectTo } from '../chaos/amqp/connect.ts'
import { up } from '../services/manager.ts'
import { serviceNamed } from '../services/table.ts'

/** A broker with one topic or queue of the run. */
export interface SoakBroker {
  readonly title: string
  readonly publisher: Publisher
  /** A member of the group, on a connection of its own. */
  member(pipeline: Pipeline): Member
  close(): void
}

export interface Member {
  readonly consumer: Consumer
  close(): void
}

const settings = { redeliverMs: 100, drainMs: 5_000 }

export const brokers: Readonly<Record<string, (name: string) => Promise<SoakBroker>>> = {
  pulsar,
  amqp: (name) => amqp('artemis', name),
  activemq: (name) => amqp('activemq', name),
}

async function pulsar(name: string): Promise<SoakBroker> {
  const { url, version } = await up(serviceNamed('pulsar'), console.error)
  const own = pulsarClient({ serviceUrl: url })
  return {
    title: `Pulsar ${version}`,
    publisher: pulsarPublisher(own),
    member(pipeline) {
      const client = pulsarClient({ serviceUrl: url })
      const consumer = pulsarConsumer({ client, topics: [name], subscription: name, pipeline, ...settings })
      return { consumer, close: () => client.close() }
    },
    close: () => own.close(),
  }
}

async function amqp(service: string, name: string): Promise<SoakBroker> {
  const { url, version } = await up(serviceNamed(service), console.error)
  const own = connectTo(url, name)
  let members = 0
  return {
    title: `${serviceNamed(service).title} ${version}`,
    publisher: amqpPublisher(own),
    member(pipeline) {
      const connection = connectTo(url, `${name}-${++members}`)
      const consumer = amqpConsumer({ connection, sources: [queue(name)], pipeline, ...settings })
      return { consumer, close: () => void connection.close() }
    },
    close: () => void own.close(),
  }
}
