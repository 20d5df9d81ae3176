import { pipeline } from '../../core/pipeline.ts'
import { outgoing } from '../../core/publisher.ts'
import type { ContractCase } from './contract.ts'
import type { Bench, Running } from './transport-bench.ts'
import { deliveryCases } from './transport-cases.ts'
import { replayCases } from './transport-replay-cases.ts'
import { troubleCases } from './transport-trouble-cases.ts'
import type { TestTransport, TransportUnderTest } from './transport-under-test.ts'

/** The tests that every transport passes, as data for any runner: `for (const { name, run } of transportContract(…)) it(name, run)`. */
export function transportContract(under: TransportUnderTest): readonly ContractCase[] {
  return [...deliveryCases(), ...troubleCases(), ...replayCases()]
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
