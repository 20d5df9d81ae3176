import { createHash } from 'node:crypto'
import { dice } from './dice.ts'
import { coffees, type Order } from './orders.ts'

export const serviceNames = ['order', 'stock', 'payment', 'customer'] as const
export type ServiceName = (typeof serviceNames)[number]

/** Everything that will go wrong, settled before anything runs. The same seed and number of messages: the same plan. */
export interface Plan {
  readonly orders: readonly PlannedOrder[]
  /** How often the first calls for an order fail, by service and order. */
  readonly transient: Readonly<Record<ServiceName, ReadonlyMap<string, number>>>
  readonly kill: { readonly service: ServiceName; readonly atOrder: number; readonly downMs: number }
  /** The payment API is down. */
  readonly outage: { readonly atOrder: number; readonly downMs: number }
  /** Orders placed in a second. */
  readonly perSecond: number
  /** A digest of all of it. */
  readonly fingerprint: string
}

export interface PlannedOrder {
  readonly order: Order
  /** `garbled`: its bytes are no JSON. `unknown-coffee`: it is well formed, and nobody can brew it. */
  readonly poison: Poison | null
  /** The producer sends it once more, when so many others were placed after it. */
  readonly repeatedAfter: number | null
}
export type Poison = 'garbled' | 'unknown-coffee'

export const shares = { duplicates: 0.15, transient: 0.1, poison: 0.01 } as const

export function planFor({ seed, messages }: { readonly seed: number; readonly messages: number }): Plan {
  const placed = placeOrders(seed, messages)
  const share = (part: number) => Math.max(1, Math.round(part * messages))

  const poisoned = dice(seed, 'poison').draw(share(shares.poison), placed)
  const poison = new Map(poisoned.map(({ id }, n) => [id, n % 2 === 0 ? 'garbled' : 'unknown-coffee'] as const))
  const later = dice(seed, 'how much later')
  // Some come at once, while the first one is still being handled, others long after.
  const repeats = dice(seed, 'duplicates')
    .draw(share(shares.duplicates), placed)
    .map(({ id }) => [id, later.throw() < 0.3 ? 0 : later.between(1, 60)] as const)
  const repeatedAfter = new Map(repeats)

  const good = placed.filter(({ id }) => !poison.has(id))
  const failing = (service: ServiceName) => {
    const chance = dice(seed, `transient ${service}`)
    const drawn = chance.draw(Math.min(good.length, share(shares.transient)), good)
    return new Map(drawn.map(({ id }) => [id, chance.throw() < 0.8 ? 1 : 2]))
  }

  // About 17 s of orders, and fewer of them no slower than that.
  const perSecond = Math.max(60, messages / 17)
  const placingMs = (messages / perSecond) * 1000
  const parts = {
    orders: placed.map((order) => ({
      order: poison.get(order.id) === 'unknown-coffee' ? { ...order, coffee: 'pumpkin spice' } : order,
      poison: poison.get(order.id) ?? null,
      repeatedAfter: repeatedAfter.get(order.id) ?? null,
    })),
    transient: {
      order: failing('order'),
      stock: failing('stock'),
      payment: failing('payment'),
      customer: failing('customer'),
    },
    kill: { service: 'stock', atOrder: Math.ceil(messages * 0.25), downMs: Math.min(1500, placingMs / 6) },
    outage: { atOrder: Math.ceil(messages * 0.5), downMs: Math.min(3000, placingMs / 3) },
    perSecond,
  } as const
  return { ...parts, fingerprint: digest(parts) }
}

function placeOrders(seed: number, messages: number): Order[] {
  const chance = dice(seed, 'orders')
  const customers = Math.max(3, Math.min(60, Math.round(messages / 20)))
  const sequences = new Map<string, number>()
  return Array.from({ length: messages }, (_, n) => {
    const customer = `customer-${chance.between(1, customers)}`
    const sequence = (sequences.get(customer) ?? 0) + 1
    sequences.set(customer, sequence)
    return { id: `order-${n + 1}`, customer, sequence, coffee: chance.pick(coffees), cups: chance.between(1, 4) }
  })
}

function digest(parts: object): string {
  const text = JSON.stringify(parts, (_, value: unknown) => (value instanceof Map ? [...value] : value))
  return createHash('sha256').update(text).digest('hex').slice(0, 16)
}
