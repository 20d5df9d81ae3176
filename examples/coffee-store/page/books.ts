import type { Order } from '../orders.ts'
import { serviceNames, type ServiceName } from '../plan.ts'
import type { Effect } from '../world.ts'
import type { Figures, ServiceFigures } from './audit.ts'

export interface Placed {
  readonly order: Order
  readonly poison: boolean
}

interface Open extends Placed {
  readonly placedMs: number
  readonly done: Set<ServiceName>
  readonly dead: Set<ServiceName>
}

type Counted = { -readonly [Field in keyof ServiceFigures]: number }

/** The ledger in memory. An order that all services dealt with is closed and forgotten: the page may be open for days. */
export class Books {
  readonly #open = new Map<string, Open>()
  readonly #latest = new Map<string, number>()
  readonly #counted: Record<ServiceName, Counted> = { order: none(), stock: none(), payment: none(), customer: none() }
  #placed = 0
  #poison = 0

  place({ order, poison }: Placed): void {
    this.#placed++
    if (poison) this.#poison++
    this.#open.set(order.id, { order, poison, placedMs: performance.now(), done: new Set(), dead: new Set() })
  }

  effect({ service, order, customer, sequence }: Effect): void {
    const counted = this.#counted[service]
    counted.effects++
    const open = this.#open.get(order)
    if (open === undefined || open.done.has(service)) counted[this.#wasPlaced(order) ? 'doubled' : 'unexpected']++
    else if (open.poison) counted.unexpected++
    const latest = this.#latest.get(`${service} ${customer}`) ?? 0
    if (sequence < latest) counted.outOfOrder++
    else this.#latest.set(`${service} ${customer}`, sequence)
    open?.done.add(service)
    this.#settle(open)
  }

  /** A dead letter. A message that was sent twice may leave two of them. */
  letter(service: ServiceName, order: string): void {
    const open = this.#open.get(order)
    if (open === undefined || open.dead.has(service)) return
    this.#counted[service][open.poison ? 'poisonDead' : 'goodDead']++
    open.dead.add(service)
    this.#settle(open)
  }

  figures(clicksCounted: number): Figures {
    const services = structuredClone(this.#counted)
    let oldestMs: number | null = null
    for (const { order, done, dead, placedMs } of this.#open.values())
      for (const service of serviceNames) {
        if (done.has(service) || dead.has(service)) continue
        const isPassed = (this.#latest.get(`${service} ${order.customer}`) ?? 0) > order.sequence
        services[service][isPassed ? 'passedOver' : 'waiting']++
        if (!isPassed) oldestMs = Math.max(oldestMs ?? 0, performance.now() - placedMs)
      }
    return { placed: this.#placed, poison: this.#poison, services, oldestWaitingMs: oldestMs, clicksCounted }
  }

  #settle(open: Open | undefined): void {
    if (open !== undefined && serviceNames.every((each) => open.done.has(each) || open.dead.has(each)))
      this.#open.delete(open.order.id)
  }

  #wasPlaced(order: string): boolean {
    const number = Number(order.replace('order-', ''))
    return number >= 1 && number <= this.#placed
  }
}

function none(): Counted {
  const zero = { effects: 0, waiting: 0, passedOver: 0, doubled: 0, outOfOrder: 0 }
  return { ...zero, unexpected: 0, poisonDead: 0, goodDead: 0 }
}
