import type { Health } from '../health.ts'
import { pipeline, type Pipeline } from '../pipeline.ts'
import { outgoing, type Publisher } from '../publisher.ts'
import type { ContractCase } from './idempotency-store-contract.ts'
import { transportCases, type Bench, type Running } from './transport-cases.ts'

/** What a transport can do; the suite leaves out what cannot be asked of it. */
export interface TransportFeatures {
  /** `key`: a message that waits holds its key only. `partition`: it holds its partition. `none`: no order at all. */
  readonly order: 'key' | 'partition' | 'none'
  /** Consumers of one group share the messages; every group gets all of them. */
  readonly groups: boolean
  /** Messages outlive the broker's process. */
  readonly persistence: boolean
  /** A nack's wait is kept. */
  readonly delay: boolean
  /** A topic has partitions that move between the members of a group. */
  readonly partitions: boolean
}

/** A transport with a broker behind it, for one test. */
export interface TestTransport {
  readonly publisher: Publisher
  /** A topic that no other test uses. */
  readonly createTopic: (partitions: number) => Promise<string>
  consumer(options: TestConsumerOptions): TestConsumer
  dispose(): Promise<void>
}

export interface TestConsumerOptions {
  readonly topics: readonly string[]
  readonly groupId: string
  readonly pipeline: Pipeline
  readonly concurrency: number
  readonly drainMs: number
  readonly redeliverMs: number
}

export interface TestConsumer {
  /** Resolves when it stopped in good order after the signal's abort. */
  run(signal: AbortSignal): Promise<void>
  /** Ends it as a killed process ends: nothing is said to the broker. */
  crash(): Promise<void>
  /** `details.buffered` counts the messages that it holds in memory. */
  health(): Health
}

export interface TransportUnderTest {
  readonly features: TransportFeatures
  /** The most messages that one consumer may hold in memory, in its default settings. */
  readonly maxBuffered: number
  create(): Promise<TestTransport>
}

/** The tests that every transport passes, as data for any runner: `for (const { name, run } of transportContract(…)) it(name, run)`. */
export function transportContract(under: TransportUnderTest): readonly ContractCase[] {
  return transportCases()
    .filter(({ needs }) => needs === undefined || needs(under.features))
    .map(({ name, partitions = 2, body }) => ({
      name,
      async run() {
        const transport = await under.create()
        const running: Running[] = []
        try {
          const topic = await transport.createTopic(partitions)
          await body(benchOf(transport, topic, running), under)
        } finally {
          await Promise.all(running.map((each) => each.stop()))
          await transport.dispose()
        }
      },
    }))
}

let groupCount = 0

function benchOf(transport: TestTransport, topic: string, running: Running[]): Bench {
  const groupId = `${topic}-group-${groupCount++}`
  return {
    ...transport,
    topic,
    groupId,
    publish: (...messages) =>
      transport.publisher.publish(messages.map((message) => outgoing({ destination: topic, ...message }))),
    start(handler, options = {}) {
      const consumer = transport.consumer({
        topics: [topic],
        groupId,
        pipeline: pipeline('contract').handle(handler),
        concurrency: 16,
        drainMs: 5000,
        redeliverMs: 50,
        ...options,
      })
      const stopping = new AbortController()
      const ended = consumer.run(stopping.signal)
      // Looked at by `stop`; a rejection before that must not end the process.
      ended.catch(() => {})
      const started: Running = {
        consumer,
        stop() {
          stopping.abort(new Error('the test is over'))
          return ended
        },
      }
      running.push(started)
      return started
    },
  }
}
