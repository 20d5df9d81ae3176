import type { Delivery } from 'holdfast'
import { recipeOf, type Order } from '../orders.ts'
import type { Apis } from '../world.ts'

/** Takes the beans from the warehouse. */
export function stockService({ warehouse }: Pick<Apis, 'warehouse'>) {
  return async ({ message: { body: order } }: Delivery<Order>) => {
    const { grams } = recipeOf(order)
    await warehouse.take(order, grams * order.cups)
  }
}
