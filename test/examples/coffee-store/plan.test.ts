import { expect, it } from 'vitest'
import { planFor, serviceNames } from '../../../examples/coffee-store/plan.ts'

it('plans the same faults for the same seed, and others for another', () => {
  const plan = planFor({ seed: 7, messages: 300 })
  expect(planFor({ seed: 7, messages: 300 })).toEqual(plan)
  expect(planFor({ seed: 8, messages: 300 }).fingerprint).not.toBe(plan.fingerprint)
  expect(planFor({ seed: 7, messages: 301 }).fingerprint).not.toBe(plan.fingerprint)
})

it('keeps the shares exactly: 15 % duplicates, 10 % transient failures in each service, 1 % poison of both kinds', () => {
  const { orders, transient } = planFor({ seed: 3, messages: 2000 })
  expect(orders.filter(({ repeatedAfter }) => repeatedAfter !== null)).toHaveLength(300)
  expect(orders.filter(({ poison }) => poison === 'garbled')).toHaveLength(10)
  expect(orders.filter(({ poison }) => poison === 'unknown-coffee')).toHaveLength(10)
  for (const service of serviceNames) expect(transient[service].size).toBe(200)
})
