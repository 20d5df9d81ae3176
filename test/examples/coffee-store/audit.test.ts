import { describe, expect, it } from 'vitest'
import { auditOf, type Evidence } from '../../../examples/coffee-store/audit.ts'
import { recipeOf } from '../../../examples/coffee-store/orders.ts'
import { planFor, serviceNames } from '../../../examples/coffee-store/plan.ts'
import { noCounts } from '../../../examples/coffee-store/watch.ts'

const plan = planFor({ seed: 1, messages: 100 })
const good = plan.orders.filter(({ poison }) => poison === null).map(({ order }) => order)
const poison = plan.orders.filter((order) => order.poison !== null).map(({ order }) => order)

/** A run in which everything went right. */
const flawless: Evidence = {
  plan,
  published: 115,
  effects: serviceNames.flatMap((service) =>
    good.map((order) => ({
      service,
      order: order.id,
      customer: order.customer,
      sequence: order.sequence,
      amount: recipeOf(order).cents * order.cups,
    })),
  ),
  faults: { transient: 40, refused: 3, cutOff: 2 },
  counts: { order: noCounts(), stock: noCounts(), payment: noCounts(), customer: noCounts() },
  kills: 1,
  outages: 1,
  deadLetters: serviceNames.flatMap((service) => poison.map(({ id }) => ({ service, order: id, intact: true }))),
}

const { effects, deadLetters } = flawless
const charge = effects.findIndex(({ service }) => service === 'payment')
const [first] = effects
const [letter] = deadLetters
if (first === undefined || letter === undefined) throw new Error('nothing to break')

function broken(change: Partial<Evidence>): readonly string[] {
  const audit = auditOf({ ...flawless, ...change })
  const names = audit.invariants.filter(({ ok }) => !ok).map(({ name }) => name)
  expect(audit.ok).toBe(names.length === 0)
  return names
}

const lost = 'nothing is lost'
const twice = 'nothing is done twice'
const order = "each customer's orders took effect in the order they were placed"
const dead = 'the dead letters are the poison orders, byte for byte'
const money = 'customers were charged what they owe'
const faults = 'all that was to go wrong went wrong'

describe('the audit of the coffee store', () => {
  it('passes a flawless run', () => {
    expect(broken({})).toEqual([])
  })

  it('sees an effect that is missing', () => {
    expect(broken({ effects: effects.slice(1) })).toEqual([lost])
  })

  it('sees an effect that happened twice', () => {
    expect(broken({ effects: effects.toSpliced(1, 0, first) })).toEqual([twice])
  })

  it('sees a charge that is missing, also where another one makes up for it', () => {
    expect(broken({ effects: effects.toSpliced(charge, 1) })).toEqual([lost, money])
    const other = effects[charge + 1]
    if (other === undefined) throw new Error('nothing to charge twice')
    const amount = effects[charge]?.amount ?? 0
    expect(broken({ effects: effects.toSpliced(charge, 1, { ...other, amount }) })).toContain(money)
  })

  it('sees two effects of one customer the wrong way round', () => {
    const mine = effects.filter(({ service, customer }) => service === 'order' && customer === first.customer)
    const [one, two] = mine
    if (one === undefined || two === undefined) throw new Error('a customer with one order')
    const swapped = effects.map((each) => (each === one ? two : each === two ? one : each))
    expect(broken({ effects: swapped })).toEqual([order])
  })

  it('sees a poison order that is not dead-lettered, a good one that is, and bytes that changed', () => {
    expect(broken({ deadLetters: deadLetters.slice(1) })).toEqual([dead])
    expect(broken({ deadLetters: [...deadLetters, { ...letter, order: first.order }] })).toEqual([dead])
    expect(broken({ deadLetters: deadLetters.with(0, { ...letter, intact: false }) })).toEqual([dead])
  })

  it('takes no notice of a dead letter that was published twice', () => {
    expect(broken({ deadLetters: [...deadLetters, letter] })).toEqual([])
  })

  it('sees an effect of a poison order', () => {
    expect(broken({ effects: [...effects, { ...first, order: poison[0]?.id ?? '', sequence: 1000 }] })).toContain(dead)
  })

  it('does not pass a run in which nothing went wrong', () => {
    expect(broken({ published: 100 })).toEqual([faults])
    expect(broken({ kills: 0 })).toEqual([faults])
    expect(broken({ faults: { ...flawless.faults, cutOff: 0 } })).toEqual([faults])
  })
})
