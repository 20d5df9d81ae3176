import { expectResilient, explore, type Explored, type ExploreOptions } from 'holdfast/testing'
import { billing, chargeCustomer, type Order, type Payments } from './billing.ts'

/** Everything that makes a broker deliver a message again. */
const faults = ['duplicate', 'redelivery', 'reorder', 'rebalance', 'partial-batch'] as const

/** No real money: the kit counts the calls. */
const effects = { charge: (_orderId: string, _cents: number): void => {} } satisfies Record<keyof Payments, unknown>

const body = (number: number): Order => ({ id: `order-${number}`, cents: 100 * number })

type Replay = Pick<ExploreOptions, 'replay'>

export function tryNaive(options: Replay = {}): Promise<Explored> {
  return expectResilient(chargeCustomer, { effects, faults, body, ...options })
}

export function tryWrapped(options: Replay = {}): Promise<Explored> {
  return explore({
    effects,
    faults,
    body,
    pipeline: ({ store, handler, effects: payments }) =>
      billing(
        store,
        handler((delivery) => chargeCustomer(delivery, payments)),
      ),
    ...options,
  })
}
