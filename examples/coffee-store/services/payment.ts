import type { Delivery } from 'holdfast'
import { recipeOf, type Order } from '../orders.ts'
import type { Apis } from '../world.ts'

/** Charges the customer's card. */
export function paymentService({ payments }: Pick<Apis, 'payments'>) {
  return async ({ message: { body: order } }: Delivery<Order>) => {
    const { cents } = recipeOf(order)
    await payments.charge(order, cents * order.cups)
  }
}
