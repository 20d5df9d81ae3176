import { z } from 'zod'
import { contract, service } from '../../src/contracts/index.ts'

/** The contracts of a coffee shop, for the tests of this folder. */
export const OrderPlaced = contract('order.placed', {
  version: 2,
  schema: z.object({
    id: z.string(),
    customer: z.string(),
    items: z.array(z.object({ coffee: z.string(), cups: z.int() })),
  }),
  owner: 'shop',
  why: 'A customer has ordered: the kitchen and the billing need it.',
  key: ({ customer }) => customer,
  examples: [{ id: 'o-1', customer: 'ada', items: [{ coffee: 'espresso', cups: 2 }] }],
  since: {
    1: {
      schema: z.object({ id: z.string(), customer: z.string(), coffee: z.string(), cups: z.int() }),
      example: { id: 'o-1', customer: 'ada', coffee: 'espresso', cups: 2 },
      toNext: ({ coffee, cups, ...order }) => ({ ...order, items: [{ coffee, cups }] }),
    },
  },
})

export const OrderPaid = contract('order.paid', {
  version: 1,
  schema: z.object({ order: z.string(), cents: z.int() }),
  owner: 'billing',
  why: 'A card was charged for an order, so that the kitchen can begin.',
  examples: [{ order: 'o-1', cents: 450 }],
})

export const shop = service('shop', {
  owner: 'shop',
  does: 'Takes orders.',
  publishes: [OrderPlaced],
  consumes: [],
})
export const billing = service('billing', {
  owner: 'billing',
  does: 'Charges cards.',
  publishes: [OrderPaid],
  consumes: [{ contract: OrderPlaced, needsOrder: true }],
})
export const kitchen = service('kitchen', {
  owner: 'shop',
  does: 'Makes coffee.',
  publishes: [],
  consumes: [OrderPaid],
})
export const services = [shop, billing, kitchen]
