import { z } from 'zod'

/** What travels in the topic `orders`. */
export const Order = z.object({
  id: z.string(),
  customer: z.string(),
  /** Counts the orders of this customer: what the audit checks the order by. */
  sequence: z.number().int().positive(),
  coffee: z.string(),
  cups: z.number().int().positive(),
})
export type Order = z.infer<typeof Order>

interface Recipe {
  readonly cents: number
  readonly grams: number
  readonly points: number
}

const menu = new Map<string, Recipe>([
  ['espresso', { cents: 240, grams: 9, points: 2 }],
  ['flat white', { cents: 390, grams: 18, points: 4 }],
  ['cappuccino', { cents: 360, grams: 9, points: 3 }],
  ['filter', { cents: 310, grams: 15, points: 3 }],
])

export const coffees: readonly string[] = [...menu.keys()]

/** @throws for a coffee that nobody has heard of: a poison order fails like this, every time, in every service. */
export function recipeOf({ coffee }: Order): Recipe {
  const recipe = menu.get(coffee)
  if (recipe === undefined) throw new TypeError(`'${coffee}' is not on the menu`)
  return recipe
}
