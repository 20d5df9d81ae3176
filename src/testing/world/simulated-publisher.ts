import { PublishError } from '../../core/errors.ts'
import type { Outgoing, Publisher } from '../../core/publisher.ts'
import type { Fault } from './faults.ts'
import type { SimulatedProcess } from './process.ts'
import { callFaults, type Simulation } from './task.ts'

/** A broker that takes messages, as long as it is not down. */
export interface SimulatedPublishing {
  readonly goDown: (ms: number) => void
  /** `verb` is what the timeline calls it. */
  readonly publisherFor: (
    process: SimulatedProcess,
    verb: string,
    onPublished: (message: Outgoing) => void,
  ) => Publisher
}

const ofPublishing: readonly Fault[] = ['publisher-down', 'confirms-late', 'partial-batch']

/** What may go wrong where messages are published. */
export const publishFaults: readonly Fault[] = [...callFaults, ...ofPublishing]

export function simulatedPublishing(
  simulation: Simulation,
  faults: readonly Fault[] = publishFaults,
): SimulatedPublishing {
  let downUntilMs = 0
  return {
    goDown(ms) {
      downUntilMs = simulation.nowMs + ms
      simulation.say('broker', `takes no messages for ${ms / 1000} s`)
    },
    publisherFor: (process, verb, onPublished) => ({
      async publish(messages) {
        const name = `${verb} ${messages.map(({ id }) => id).join(', ')}`
        await simulation.op(process, name, () => messages.forEach(onPublished), {
          faults,
          refuses: () => (simulation.nowMs < downUntilMs ? 'fails: the broker takes no messages' : undefined),
          strike(deviation) {
            if (deviation.do !== 'partial-batch' || messages.length < 2) return undefined
            messages.slice(0, 1).forEach(onPublished)
            const failures = messages
              .slice(1)
              .map((_, i) => ({ index: i + 1, error: new Error('not taken'), permanent: false }))
            return new PublishError('only the first message was taken', failures)
          },
        })
      },
    }),
  }
}
