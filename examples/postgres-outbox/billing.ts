import { idempotency, json, pipeline, retry, type Pipeline } from 'holdfast'
import { sequence } from 'holdfast/outbox'
import { postgresIdempotencyStore, postgresSequenceStore, transaction } from 'holdfast/postgres'
import type { Pool } from 'pg'
import { OrderPlaced } from './orders.ts'

/** Charges each order once; every tenth first attempt fails, as the world does. */
export function billing({ pool, claims, schema }: { pool: Pool; claims: Pool; schema: string }): Pipeline {
  return (
    pipeline('billing')
      .decode(json(OrderPlaced))
      .use(idempotency({ store: postgresIdempotencyStore(claims, { schema }) }))
      .use(retry({ maxAttempts: 5 }))
      .use(transaction(pool))
      // A late repeat of an older event is of no interest any more.
      .use(sequence({ store: postgresSequenceStore(pool, { schema }) }))
      .handle(async ({ message: { body }, tx, attempt }) => {
        await tx.query(`insert into ${schema}.charge (order_id, customer, number, cents) values ($1, $2, $3, $4)`, [
          body.orderId,
          body.customer,
          body.number,
          body.cents,
        ])
        if (attempt === 1 && body.number % 10 === 0) throw new Error('the payment service did not answer')
      })
  )
}
