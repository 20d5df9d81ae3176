import { setTimeout as sleep } from 'node:timers/promises'
import type { Dice } from '../dice.ts'
import type { Order } from '../orders.ts'
import type { ServiceName } from '../plan.ts'
import { failure, type Apis, type Effect, type Process } from '../world.ts'
import type { Write } from './ground.ts'
import type { Switches } from './switches.ts'

const lostCalls = 0.02
export const slowMs = 400

export interface Outside {
  readonly process: Process
  readonly switches: Switches
  readonly chance: Dice
  readonly write: Write
  readonly charge: Write
}

/** The other side of what a service calls for one message: three write to the database, and one is an API. */
export function apisFor({ process, switches, chance, write, charge }: Outside): Apis {
  async function call(service: ServiceName, { id, customer, sequence }: Order, amount: number): Promise<void> {
    const effect: Effect = { service, order: id, customer, sequence, amount }
    const isPayment = service === 'payment'
    await sleep(chance.between(4, 16))
    if (!isPayment) await slowed(switches)
    // A dead process hears of nothing any more.
    if (!process.alive) return new Promise<never>(() => {})
    if (isPayment && switches.isOn('payments')) throw failure('the payment API does not answer', 'ECONNREFUSED')
    if (chance.throw() < lostCalls) throw failure('the connection was reset', 'ECONNRESET')
    await (isPayment ? charge(effect) : write(effect))
  }
  return {
    book: { enter: (order, cents) => call('order', order, cents) },
    warehouse: { take: (order, grams) => call('stock', order, grams) },
    payments: { charge: (order, cents) => call('payment', order, cents) },
    loyalty: { add: (order, points) => call('customer', order, points) },
  }
}

export async function slowed(switches: Switches): Promise<void> {
  if (switches.isOn('database')) await sleep(slowMs)
}
