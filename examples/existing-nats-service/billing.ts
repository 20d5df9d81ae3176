import { z } from 'zod'

export const Order = z.object({ orderId: z.string(), cents: z.number().int() })
export type Order = z.infer<typeof Order>

/** The service's own work, the same before and after. */
export interface Billing {
  charge(order: Order): Promise<void>
  /** The orders that were charged, in that order. */
  readonly charged: readonly string[]
}

/** Its payment provider has a hiccup at the first try for `order-3`. */
export function billing(): Billing {
  const charged: string[] = []
  let hiccup = true
  return {
    charged,
    async charge({ orderId }) {
      if (orderId === 'order-3' && hiccup) {
        hiccup = false
        throw new Error('the payment provider does not answer')
      }
      charged.push(orderId)
    },
  }
}
