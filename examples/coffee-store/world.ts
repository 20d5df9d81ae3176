import { setTimeout as sleep } from 'node:timers/promises'
import { dice } from './dice.ts'
import type { Order } from './orders.ts'
import type { Plan, ServiceName } from './plan.ts'

/** What a service did to the world, once. */
export interface Effect {
  readonly service: ServiceName
  readonly order: string
  readonly customer: string
  readonly sequence: number
  /** Cents, grams or points. */
  readonly amount: number
}

/** The other side of what the services call: these four really do things, and cannot be told to undo them. */
export interface Apis {
  readonly book: { enter(order: Order, cents: number): Promise<void> }
  readonly warehouse: { take(order: Order, grams: number): Promise<void> }
  readonly payments: { charge(order: Order, cents: number): Promise<void> }
  readonly loyalty: { add(order: Order, points: number): Promise<void> }
}

/** One run of a service's program, as long as it lives. */
export interface Process {
  readonly alive: boolean
  /** The end without a warning: it never hears of what it waits for. */
  kill(): void
}

/** The world outside the services. It writes down what is done to it, and knows nothing of holdfast. */
export interface World {
  /** Every effect, in the order they happened. */
  readonly effects: readonly Effect[]
  /** How often it failed, how often it was down, and how many calls were cut off by the death of their caller. */
  readonly faults: { transient: number; refused: number; cutOff: number }
  paymentsDown: boolean
  apisFor(process: Process): Apis
  /** Resolves in the middle of a call that a service makes. */
  nextCall(service: ServiceName): Promise<void>
}

export function world(plan: Plan, seed: number): World {
  const effects: Effect[] = []
  const faults = { transient: 0, refused: 0, cutOff: 0 }
  const latency = dice(seed, 'latency')
  const callsToFail = structuredClone(plan.transient) as Record<ServiceName, Map<string, number>>

  const waiting = new Map<ServiceName, () => void>()

  async function call(service: ServiceName, process: Process, order: Order, amount: number): Promise<void> {
    waiting.get(service)?.()
    await sleep(latency.between(5, 35))
    if (!process.alive) {
      faults.cutOff++
      return new Promise<never>(() => {})
    }
    if (service === 'payment' && self.paymentsDown) {
      faults.refused++
      throw failure('the payment API does not answer', 'ECONNREFUSED')
    }
    const left = callsToFail[service].get(order.id) ?? 0
    if (left > 0) {
      callsToFail[service].set(order.id, left - 1)
      faults.transient++
      throw failure('the connection was reset', 'ECONNRESET')
    }
    const { id, customer, sequence } = order
    effects.push({ service, order: id, customer, sequence, amount })
  }

  const self: World = {
    effects,
    faults,
    paymentsDown: false,
    nextCall: (service) => new Promise((resolve) => waiting.set(service, resolve)),
    apisFor: (process) => ({
      book: { enter: (order, cents) => call('order', process, order, cents) },
      warehouse: { take: (order, grams) => call('stock', process, order, grams) },
      payments: { charge: (order, cents) => call('payment', process, order, cents) },
      loyalty: { add: (order, points) => call('customer', process, order, points) },
    }),
  }
  return self
}

/** What a client throws: by its code a circuit knows an outage from a bug. */
export function failure(message: string, code: string): Error {
  return Object.assign(new Error(message), { code })
}

export function startProcess(): Process {
  const process = { alive: true, kill: () => void (process.alive = false) }
  return process
}
