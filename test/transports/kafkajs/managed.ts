import { Kafka, logLevel, type ISocketFactory, type KafkaConfig } from 'kafkajs'
import { connect, type Socket } from 'node:net'
import { subscribe, type ConsumerChange } from '../../../src/events.ts'
import type { Delivery } from '../../../src/delivery.ts'
import type { Health } from '../../../src/health.ts'
import type { Bytes } from '../../../src/message.ts'
import { pipeline } from '../../../src/pipeline.ts'
import { kafkajsConsumer, type KafkajsConsumerOptions } from '../../../src/transports/kafkajs/index.ts'
import { kafkaBrokers } from '../../support/services.ts'

/** A managed consumer under test, with a client of its own: kafkajs shares what a group committed within one client. */
export interface Managed {
  readonly changes: readonly ConsumerChange[]
  changed(change: string): readonly ConsumerChange[]
  health(): Health
  /** Stops it in good order. */
  stop(): Promise<void>
  readonly ended: Promise<void>
}

export interface ManagedOptions extends Partial<KafkajsConsumerOptions> {
  readonly client?: Partial<KafkaConfig>
}

/** Short times, so that tests need not wait for a session of half a minute. */
export function managed(
  topic: string,
  groupId: string,
  handler: (delivery: Delivery<Bytes>) => Promise<unknown> | void,
  { client = {}, ...options }: ManagedOptions = {},
): Managed {
  const kafka = new Kafka({
    brokers: kafkaBrokers(),
    logLevel: logLevel.NOTHING,
    retry: { initialRetryTime: 100, retries: 5 },
    ...client,
  })
  const changes: ConsumerChange[] = []
  const unsubscribe = subscribe('consumer-changed', (change) => {
    if (change.group === groupId) changes.push(change)
  })
  const consumer = kafkajsConsumer({
    kafka,
    groupId,
    topics: [topic],
    pipeline: pipeline('managed').handle(handler),
    sessionMs: 3000,
    rebalanceMs: 10_000,
    heartbeatMs: 200,
    drainMs: 5000,
    commitEveryMs: 50,
    redeliverMs: 100,
    ...options,
  })
  const stopping = new AbortController()
  const ended = consumer.run(stopping.signal).finally(unsubscribe)
  ended.catch(() => {})
  return {
    changes,
    changed: (change) => changes.filter((each) => each.change === change),
    health: () => consumer.health(),
    ended,
    stop() {
      stopping.abort(new Error('the test is over'))
      return ended
    },
  }
}

/** Sockets that can be cut and kept cut, as by a network that is down. */
export function mortalSockets(): { readonly factory: ISocketFactory; down(): void; up(): void } {
  const sockets = new Set<Socket>()
  let dead = false
  return {
    factory({ host, port, onConnect }) {
      const socket = connect({ host, port }, onConnect)
      sockets.add(socket)
      socket.once('close', () => sockets.delete(socket))
      if (dead) socket.destroy(new Error('the network is down'))
      return socket
    },
    down() {
      dead = true
      // kafkajs does not listen for `close`: only an error tells it.
      for (const socket of sockets) socket.destroy(new Error('the network is down'))
    },
    up() {
      dead = false
    },
  }
}
