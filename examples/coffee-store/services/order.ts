import type { Delivery } from 'holdfast'
import { recipeOf, type Order } from '../orders.ts'
import type { Apis } from '../world.ts'

/** Enters each order in the book. */
export function orderService({ book }: Pick<Apis, 'book'>) {
  return async ({ message: { body: order } }: Delivery<Order>) => {
    const { cents } = recipeOf(order)
    await book.enter(order, cents * order.cups)
  }
}
