import { z } from 'zod'

export const Order = z.object({ orderId: z.string(), customer: z.string(), cents: z.number().int() })
export type Order = z.infer<typeof Order>
