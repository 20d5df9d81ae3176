import { contract, service, type Service } from 'holdfast/contracts'
import { z } from 'zod'
import { Order } from './orders.ts'

/** What travels in the topic `orders`. */
export const OrderPlaced = contract('order.placed', {
  version: 1,
  schema: Order,
  owner: 'shop',
  why: 'A customer has ordered: the order is entered, the beans are taken, the card is charged, the points are added.',
  destination: 'orders',
  key: (order) => order.customer,
  examples: [{ id: 'order-1', customer: 'customer-7', sequence: 1, coffee: 'flat white', cups: 2 }],
  accepts: { 'side-effects': 'the payment API gets the message id as its key, and refuses a second charge' },
})

/** What travels in the topic `clicks`. */
export const ProductClicked = contract('product.clicked', {
  version: 1,
  schema: z.object({ product: z.string(), visitor: z.string() }),
  owner: 'web',
  why: 'A visitor has looked at a coffee: the window shows what is looked at most.',
  destination: 'clicks',
  key: (click) => click.visitor,
  examples: [{ product: 'flat white', visitor: 'visitor-3' }],
})

const handles = { contract: OrderPlaced, needsOrder: true }

export const services: readonly Service[] = [
  service('shop', {
    ...{ owner: 'shop', does: 'Takes orders, and puts each into the outbox.' },
    ...{ publishes: [OrderPlaced], consumes: [] },
  }),
  service('website', {
    ...{ owner: 'web', does: 'Shows the coffees, and tells which were looked at.' },
    ...{ publishes: [ProductClicked], consumes: [] },
  }),
  service('order', { owner: 'shop', does: 'Enters each order in the book.', publishes: [], consumes: [handles] }),
  service('stock', { owner: 'stock', does: 'Takes the beans.', publishes: [], consumes: [handles] }),
  service('payment', {
    ...{ owner: 'payments', does: "Charges the customer's card.", publishes: [] },
    consumes: [{ ...handles, sideEffects: 'charges the card' }],
  }),
  service('customer', { owner: 'loyalty', does: 'Adds the points.', publishes: [], consumes: [handles] }),
  service('window', { owner: 'web', does: 'Counts what is looked at.', publishes: [], consumes: [ProductClicked] }),
]
