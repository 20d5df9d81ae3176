import {
  deadLetter,
  idempotency,
  pipeline,
  retry,
  type Bytes,
  type Delivery,
  type Pipeline,
} from '../../../src/index.ts'
import type { IdempotencyStore } from '../../../src/idempotency/store.ts'
import { parking, type ParkingOptions } from '../../../src/ordering/parking/parking.ts'
import type { ParkingStore } from '../../../src/ordering/parking/store.ts'
import { recovery } from '../../../src/retry/recovery.ts'
import type { RetryOptions } from '../../../src/retry/retry.ts'

export interface ParkedPipeline {
  readonly orders: Pipeline
  readonly handled: string[]
  readonly dead: string[]
}

export type Handles = (delivery: Delivery<Bytes>) => Promise<void> | void

/** A pipeline that parks, with a list of what was handled and of what died. */
export function parkedPipeline(
  store: IdempotencyStore & ParkingStore,
  handle: Handles,
  more: Partial<ParkingOptions> & { readonly retry?: RetryOptions; readonly leaseMs?: number } = {},
): ParkedPipeline {
  const handled: string[] = []
  const dead: string[] = []
  const { retry: retries = {}, leaseMs = 30_000, ...options } = more
  const clock = options.clock === undefined ? {} : { clock: options.clock }
  const orders = pipeline('orders')
    .use(
      deadLetter({
        to: {
          publish(messages) {
            dead.push(...messages.map(({ id }) => id))
            return Promise.resolve()
          },
        },
        ...clock,
      }),
    )
    .use(parking({ store, ...options }))
    .use(idempotency({ store, leaseMs, ...clock }))
    .use(retry({ maxAttempts: 3, backoff: () => 10, recovery: recovery(), ...clock, ...retries }))
    .handle(async (delivery) => {
      await handle(delivery)
      handled.push(delivery.message.id)
    })
  return { orders, handled, dead }
}

export function send({ orders }: ParkedPipeline, id: string, key: string | null = 'A', headers = {}) {
  const origin = { system: 'kafka', destination: 'topic', partition: '0', position: id, group: 'g' }
  return orders.dispatch({ message: { id, key, body: Buffer.from(`body of ${id}`), headers }, origin })
}
