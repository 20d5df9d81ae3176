import { recipeOf, type Order } from './orders.ts'
import { serviceNames, type Plan, type ServiceName } from './plan.ts'
import type { AllCounts } from './watch.ts'
import type { Effect, World } from './world.ts'

/** What is left of a run: enough to judge it without asking the library. */
export interface Evidence {
  readonly plan: Plan
  /** Sent to the topic, repeats included. */
  readonly published: number
  readonly effects: World['effects']
  readonly faults: World['faults']
  readonly counts: AllCounts
  readonly kills: number
  readonly outages: number
  /** What lies in the dead-letter topics at the end. */
  readonly deadLetters: readonly { readonly service: ServiceName; readonly order: string; readonly intact: boolean }[]
}

export interface Invariant {
  readonly name: string
  readonly ok: boolean
  readonly found: string
}

export interface Audit {
  readonly ok: boolean
  readonly orders: { placed: number; customers: number; sentAgain: number; poison: number; published: number }
  readonly deliveries: number
  readonly duplicatesSuppressed: number
  readonly retries: number
  readonly deadLetters: number
  readonly effects: { expected: number; happened: number; lost: number; doubled: number; unexpected: number }
  readonly outOfOrder: number
  readonly money: { owedCents: number; chargedCents: number; twiceCents: number; neverCents: number }
  readonly faults: {
    transient: number
    paymentsRefused: number
    kills: number
    cutOff: number
    outages: number
  }
  readonly services: Readonly<Record<ServiceName, ServiceAudit>>
  readonly invariants: readonly Invariant[]
}

export interface ServiceAudit {
  readonly deliveries: number
  readonly effects: number
  readonly lost: number
  readonly doubled: number
  readonly outOfOrder: number
  readonly deadLetters: number
}

/** Holds what happened against what was ordered. */
export function auditOf({ plan, published, effects, faults, counts, kills, outages, deadLetters }: Evidence): Audit {
  const good = plan.orders.filter(({ poison }) => poison === null).map(({ order }) => order)
  const goodIds = new Set(good.map(({ id }) => id))
  const poisonIds = plan.orders.filter(({ poison }) => poison !== null).map(({ order }) => order.id)
  const sentAgain = plan.orders.filter(({ repeatedAfter }) => repeatedAfter !== null).length

  const judged = serviceNames.map((service) => {
    const mine = effects.filter((effect) => effect.service === service)
    const times = new Map<string, number>()
    for (const { order } of mine) times.set(order, (times.get(order) ?? 0) + 1)
    const buried = deadLetters.filter((letter) => letter.service === service)
    const buriedIds = new Set(buried.map(({ order }) => order))
    return {
      service,
      deliveries: counts[service].deliveries,
      effects: mine.length,
      lost: good.filter(({ id }) => !times.has(id)).length,
      doubled: sum([...times.values()].map((count) => count - 1)),
      unexpected: [...times.keys()].filter((id) => !goodIds.has(id)).length,
      outOfOrder: outOfOrder(mine),
      deadLetters: buriedIds.size,
      poisonNotBuried: poisonIds.filter((id) => !buriedIds.has(id)).length,
      goodBuried: [...buriedIds].filter((id) => goodIds.has(id)).length,
      notIntact: buried.filter(({ intact }) => !intact).length,
    }
  })
  const total = (field: Exclude<keyof (typeof judged)[number], 'service'>) => sum(judged.map((each) => each[field]))
  const owedCents = sum(good.map(priceOf))
  const charges = effects.filter(({ service }) => service === 'payment')
  const chargedCents = sum(charges.map(({ amount }) => amount))
  const firstCharges = new Map(charges.map(({ order, amount }) => [order, amount]))
  const twiceCents = chargedCents - sum([...firstCharges.values()])
  const neverCents = sum(good.filter(({ id }) => !firstCharges.has(id)).map(priceOf))

  const invariants: Invariant[] = [
    {
      name: 'nothing is lost',
      ok: total('lost') === 0,
      found: `${total('lost')} of ${good.length * serviceNames.length} effects missing`,
    },
    {
      name: 'nothing is done twice',
      ok: total('doubled') === 0,
      found: `${total('doubled')} effects too many`,
    },
    {
      name: "each customer's orders took effect in the order they were placed",
      ok: total('outOfOrder') === 0,
      found: `${total('outOfOrder')} too late`,
    },
    {
      name: 'the dead letters are the poison orders, byte for byte',
      ok: total('poisonNotBuried') + total('goodBuried') + total('notIntact') + total('unexpected') === 0,
      found: `${total('poisonNotBuried')} missing, ${total('goodBuried')} good ones among them, ${total('notIntact')} changed`,
    },
    {
      name: 'customers were charged what they owe',
      ok: chargedCents === owedCents && twiceCents === 0,
      found: `owed ${euros(owedCents)}, charged ${euros(chargedCents)}`,
    },
    {
      name: 'all that was to go wrong went wrong',
      ok:
        published === plan.orders.length + sentAgain &&
        [faults.transient, kills, faults.cutOff, outages, faults.refused].every((count) => count > 0),
      found: `${published - plan.orders.length} duplicates, ${faults.transient} transient failures, ${kills} kill, ${outages} outage`,
    },
  ]
  return {
    ok: invariants.every(({ ok }) => ok),
    orders: {
      placed: plan.orders.length,
      customers: new Set(plan.orders.map(({ order }) => order.customer)).size,
      sentAgain,
      poison: poisonIds.length,
      published,
    },
    deliveries: total('deliveries'),
    duplicatesSuppressed: sum(serviceNames.map((service) => counts[service].outcomes.duplicate)),
    retries: sum(serviceNames.map((service) => counts[service].retries)),
    deadLetters: total('deadLetters'),
    effects: {
      expected: good.length * serviceNames.length,
      happened: effects.length,
      lost: total('lost'),
      doubled: total('doubled'),
      unexpected: total('unexpected'),
    },
    outOfOrder: total('outOfOrder'),
    money: { owedCents, chargedCents, twiceCents, neverCents },
    faults: {
      transient: faults.transient,
      paymentsRefused: faults.refused,
      kills,
      cutOff: faults.cutOff,
      outages,
    },
    services: {
      order: serviceAudit('order'),
      stock: serviceAudit('stock'),
      payment: serviceAudit('payment'),
      customer: serviceAudit('customer'),
    },
    invariants,
  }

  function serviceAudit(name: ServiceName): ServiceAudit {
    const found = judged.find(({ service }) => service === name)
    if (found === undefined) throw new Error(`no service ${name}`)
    const { deliveries, effects, lost, doubled, outOfOrder, deadLetters } = found
    return { deliveries, effects, lost, doubled, outOfOrder, deadLetters }
  }
}

/** Effects that came after an effect of a later order of the same customer. */
function outOfOrder(effects: readonly Effect[]): number {
  const latest = new Map<string, number>()
  let count = 0
  for (const { customer, sequence } of effects) {
    const before = latest.get(customer) ?? 0
    if (sequence < before) count++
    else latest.set(customer, sequence)
  }
  return count
}

function priceOf(order: Order): number {
  return recipeOf(order).cents * order.cups
}

export function euros(cents: number): string {
  return `€${(cents / 100).toLocaleString('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0)
}
