import {
  deadLetter,
  idempotency,
  json,
  pipeline,
  retry,
  timeout,
  type Delivery,
  type IdempotencyStore,
  type Pipeline,
  type Publisher,
} from 'holdfast'
import { circuitBreaker } from 'holdfast/policies'
import { Order } from './orders.ts'
import type { ServiceName } from './plan.ts'
import type { Watch } from './watch.ts'
import type { Apis } from './world.ts'

export type Handler = (delivery: Delivery<Order>) => Promise<void>

export interface Wrapping {
  readonly store: IdempotencyStore
  readonly deadLetters: Publisher
  readonly deadLetterTopic: string
  /** Whose keys these are: a store that outlives this run must not take the next one's orders for duplicates. */
  readonly scope: string
  readonly watch: Watch
}

/** The whole difference that holdfast makes to a service. */
export function wrapped(service: ServiceName, handler: Handler, options: Wrapping): Pipeline {
  const { store, deadLetters, deadLetterTopic, scope, watch } = options
  return pipeline(service)
    .use(watch.deliveries)
    .use(deadLetter({ to: deadLetters, destination: deadLetterTopic }))
    .decode(json(Order))
    .use(idempotency({ store, scope, leaseMs: 1_500, retainMs: 600_000 }))
    .use(retry({ maxAttempts: 10, backoff: { initialMs: 20, maxMs: 200 } }))
    .use(timeout({ afterMs: 2_000 }))
    .handle(watch.starts(handler))
}

/** The same handler as many a service has it: what fails is logged, and the next message is read. */
export function naive(service: ServiceName, handler: Handler, { watch }: Pick<Wrapping, 'watch'>): Pipeline {
  return pipeline(service)
    .use(watch.deliveries)
    .use((next) => (delivery) => next(delivery).catch(() => 'discarded'))
    .decode(json(Order))
    .handle(watch.starts(handler))
}

/** One circuit round the one API that is known to go down; a fault in the handler's own code does not open it. */
export function guarded(payments: Apis['payments']): Apis['payments'] {
  const circuit = circuitBreaker({ name: 'payment-api', openAfter: 5 })
  return { charge: (order, cents) => circuit.run(() => payments.charge(order, cents), { id: order.id }) }
}
