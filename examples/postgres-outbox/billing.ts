import { idempotency, json, pipeline, retry, type Pipeline } from 'holdfast'
import { sequence } from 'holdfast/outbox'
import { postgresIdempotencyStore, postgresSequenceStore, transaction } from 'holdfast/postgres'
import type { Pool } from 'pg'
import { OrderPlaced } from './orders.ts'

export interface Billing {
  readonly pool: Pool
  readonly claims: Pool
  readonly schema: string
  /** `false` leaves out what knows repeats, to see what the audit says. */
  readonly claimed: boolean
}

/** Charges each order once; every tenth first attempt fails, as the world does. */
export function billing({ pool, claims, schema, claimed }: Billing): Pipeline {
  const orders = pipeline('billing').decode(json(OrderPlaced))
  const store = postgresIdempotencyStore(claims, { schema })
  const stack = (claimed ? orders.use(idempotency({ store })) : orders)
    .use(retry({ maxAttempts: 5 }))
    .use(transaction(pool))
  // A late repeat of an older event is of no interest any more.
  const ordered = claimed ? stack.use(sequence({ store: postgresSequenceStore(pool, { schema }) })) : stack
  return ordered.handle(async ({ message: { body }, tx, attempt }) => {
    await tx.query(`insert into ${schema}.charge (order_id, customer, number, cents) values ($1, $2, $3, $4)`, [
      body.orderId,
      body.customer,
      body.number,
      body.cents,
    ])
    if (attempt === 1 && body.number % 10 === 0) throw new Error('the payment service did not answer')
  })
}
