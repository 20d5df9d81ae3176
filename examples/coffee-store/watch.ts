import { subscribe, type CircuitState, type Delivery, type Outcome, type Step } from 'holdfast'
import type { ServiceName } from './plan.ts'
import type { Handler } from './wrap.ts'
import type { Process } from './world.ts'

/** What one service went through, counted as it happened. */
export interface Counts {
  deliveries: number
  /** Handler starts, and those of them that were not the first for their message. */
  starts: number
  retries: number
  outcomes: Record<Outcome, number>
  handedBack: number
  /** What was acked, each place in the topic once. */
  readonly acked: Set<string>
  /** The ids of what was dead-lettered. */
  readonly dead: Set<string>
}

/** Two plain functions to put into a pipeline: the outermost and the innermost. */
export interface Watch {
  deliveries<D extends Delivery>(next: Step<D>): Step<D>
  starts(handler: Handler): Handler
}

export function noCounts(): Counts {
  return {
    deliveries: 0,
    starts: 0,
    retries: 0,
    outcomes: { handled: 0, duplicate: 0, stale: 0, parked: 0, 'dead-lettered': 0, discarded: 0 },
    handedBack: 0,
    acked: new Set(),
    dead: new Set(),
  }
}

/** Counts for a service as long as its process lives: what a dead one still does reaches nobody. */
export function watch(counts: Counts, process: Process): Watch {
  return {
    deliveries: (next) =>
      async function watched(delivery) {
        counts.deliveries++
        try {
          const outcome = await next(delivery)
          if (process.alive) {
            counts.outcomes[outcome]++
            if (outcome === 'dead-lettered') counts.dead.add(delivery.message.id)
            counts.acked.add(`${delivery.origin.partition}/${delivery.origin.position}`)
          }
          return outcome
        } catch (error) {
          if (process.alive) counts.handedBack++
          throw error
        }
      },
    starts: (handler) => (delivery) => {
      counts.starts++
      if (delivery.attempt > 1) counts.retries++
      return handler(delivery)
    },
  }
}

export interface Circuit {
  readonly state: CircuitState
  readonly timesOpened: number
  stopWatching(): void
}

/** What the library says of a circuit. */
export function watchCircuit(name: string, changed: (from: CircuitState, to: CircuitState) => void): Circuit {
  const circuit: { state: CircuitState; timesOpened: number; stopWatching: () => void } = {
    state: 'closed',
    timesOpened: 0,
    stopWatching: subscribe('circuit-changed', (event) => {
      if (event.name !== name) return
      if (event.from === 'closed' && event.to === 'open') circuit.timesOpened++
      circuit.state = event.to
      changed(event.from, event.to)
    }),
  }
  return circuit
}

export type AllCounts = Readonly<Record<ServiceName, Counts>>
