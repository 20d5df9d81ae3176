import type { Delivery } from 'holdfast'
import { recipeOf, type Order } from '../orders.ts'
import type { Apis } from '../world.ts'

/** Adds the points to the customer's card. */
export function customerService({ loyalty }: Pick<Apis, 'loyalty'>) {
  return async ({ message: { body: order } }: Delivery<Order>) => {
    const { points } = recipeOf(order)
    await loyalty.add(order, points * order.cups)
  }
}
