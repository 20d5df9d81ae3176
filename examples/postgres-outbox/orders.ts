import Fastify, { type FastifyInstance } from 'fastify'
import { json } from 'holdfast'
import type { Outbox } from 'holdfast/outbox'
import { postgresOutbox } from 'holdfast/postgres'
import type { Pool, PoolClient } from 'pg'
import { z } from 'zod'

export const OrderPlaced = z.object({
  orderId: z.string(),
  customer: z.string(),
  number: z.number(),
  cents: z.number(),
})

const Order = z.object({ orderId: z.string(), customer: z.string(), cents: z.number().int() })

export interface OrderService {
  readonly pool: Pool
  readonly topic: string
  readonly schema: string
  /** Something in the place of the outbox, to see what the audit says. */
  readonly outbox?: Outbox<PoolClient, z.infer<typeof OrderPlaced>> | undefined
}

/** The order service. What is new in it for the outbox: the constant, the call of `add`, and nothing else. */
export function orderService({
  pool,
  topic,
  schema,
  outbox = postgresOutbox({ schema, codec: json(OrderPlaced) }),
}: OrderService): FastifyInstance {
  const app = Fastify()

  app.post('/orders', async (request, reply) => {
    const { orderId, customer, cents } = Order.parse(request.body)
    const tx = await pool.connect()
    try {
      await tx.query('begin')
      // The customer's row is locked from here on: so the events of a customer leave in the order of their numbers.
      const { rows } = await tx.query<{ orders: number }>(
        `insert into ${schema}.customer (name) values ($1)
         on conflict (name) do update set orders = customer.orders + 1 returning orders`,
        [customer],
      )
      const number = rows[0]?.orders ?? 0
      await tx.query(`insert into ${schema}.orders (id, customer, number, cents) values ($1, $2, $3, $4)`, [
        orderId,
        customer,
        number,
        cents,
      ])
      await outbox.add(tx, { destination: topic, key: customer, body: { orderId, customer, number, cents } })
      // The event was added already: rolled back, it never leaves.
      if (cents <= 0) throw new Error('nothing to pay')
      await tx.query('commit')
      return await reply.code(201).send({ orderId, number })
    } catch (error) {
      await tx.query('rollback')
      return await reply.code(422).send({ error: String(error) })
    } finally {
      tx.release()
    }
  })
  return app
}
