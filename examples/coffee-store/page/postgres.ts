import { randomUUID } from 'node:crypto'
import { Socket } from 'node:net'
import { pipeline } from 'holdfast'
import { nodeListener, operatorPage } from 'holdfast/dashboard'
import {
  migrate,
  postgresDeadLetters,
  postgresIdempotencyStore,
  postgresOperatorStore,
  postgresOutbox,
  postgresOutboxStore,
  transaction,
} from 'holdfast/postgres'
import { tracedCreate } from 'holdfast/tracing'
import pg from 'pg'
import { addressOf } from '../../services.ts'
import { unreachable } from '../backends/unreachable.ts'
import { ProductClicked } from '../contracts.ts'
import { serviceNames } from '../plan.ts'
import type { Effect } from '../world.ts'
import type { Connections, Database, Write } from './ground.ts'
import { messageOf } from './message.ts'
import { clicksOf, figuresFrom, figuresOf, lateOf, tables, totalsOf, type Rows } from './tables.ts'
import { shownSeconds, windowSeconds } from './windows.ts'

/** How many handlers of a service run at once: one connection each. */
const concurrency = 6

/** Real PostgreSQL: ledger, outbox, claims, dead letters and clicks in a schema of their own, which goes at the end. */
export async function postgresDatabase(address: string | true): Promise<Database> {
  const connectionString = address === true ? await addressOf('postgres') : address
  const schema = `coffee_page_${Date.now().toString(36)}`
  const pool = poolOf({ connectionString, max: 6 })
  await pool.query('select 1').catch((error: unknown) => unreachable('PostgreSQL', 'postgres', connectionString, error))
  await migrate(pool, { schema })
  await pool.query(tables(schema))
  const outbox = postgresOutbox({ schema, through: tracedCreate({ system: 'kafka' }) })
  const letters = postgresDeadLetters(pool, { schema })
  const insertClicks = `insert into ${schema}.click select * from unnest($1::text[], $2::text[], $3::timestamptz[])`
  const insertPlaced = `insert into ${schema}.placed (order_id, customer, number, coffee, cups, poison) values ($1, $2, $3, $4, $5, $6)`
  const insertEffect = `insert into ${schema}.effect (service, order_id, customer, number, amount)`

  async function writeWith(runner: Pick<pg.Pool, 'query'>, effect: Effect): Promise<void> {
    await runner.query(`${insertEffect} values ($1, $2, $3, $4, $5)`, valuesOf(effect))
  }
  const rows = async <Row extends pg.QueryResultRow>(sql: string, values: unknown[] = []) =>
    (await pool.query<Row>(sql, values)).rows

  return {
    name: 'PostgreSQL',
    outboxStore: postgresOutboxStore(pool, { schema }),
    deadLetters: letters,
    async place(orders, topic) {
      const tx = await pool.connect()
      try {
        await tx.query('begin')
        for (const { order, poison } of orders) {
          const { id, customer, sequence, coffee, cups } = order
          await tx.query(insertPlaced, [id, customer, sequence, coffee, cups, poison])
        }
        await outbox.add(
          tx,
          orders.map((placed) => messageOf(placed, topic)),
        )
        await tx.query('commit')
      } catch (error) {
        await tx.query('rollback')
        throw error
      } finally {
        tx.release()
      }
    },
    async charge(effect, key) {
      if (key === undefined) return writeWith(pool, effect)
      const once = `with fresh as (insert into ${schema}.charge values ($6) on conflict do nothing returning key)
        ${insertEffect} select $1, $2, $3, $4::int, $5::int from fresh`
      await pool.query(once, [...valuesOf(effect), key])
    },
    connect(process): Connections {
      const sockets = new Set<Socket>()
      const stream = () => {
        const socket = new Socket()
        if (!process.alive) return socket.destroy(new Error('this process is dead'))
        sockets.add(socket)
        return socket.once('close', () => sockets.delete(socket))
      }
      const [own, claims] = [concurrency, 2].map((max) => poolOf({ connectionString, max, stream }))
      if (own === undefined || claims === undefined) throw new Error('no pools')
      const write: Write = (effect) => writeWith(own, effect)
      return {
        store: postgresIdempotencyStore(claims, { schema }),
        concurrency,
        finish: (stack, handler) =>
          stack
            .use(transaction(own))
            .handle((delivery) => handler(delivery, (effect) => writeWith(delivery.tx, effect))),
        write,
        async close() {
          if (process.alive) return void (await Promise.all([own.end(), claims.end()]))
          for (const socket of sockets) socket.destroy()
        },
      }
    },
    clicks(naive) {
      // The key of the table makes each click count once: it needs no claim.
      const insert = `${insertClicks}${naive ? '' : ' on conflict do nothing'}`
      return pipeline('window')
        .decode(ProductClicked)
        .handleBatch({ maxSize: 200, maxWaitMs: 20 }, async (deliveries) => {
          const messages = deliveries.map(({ message }) => message)
          await pool.query(insert, [
            messages.map(({ id }) => (naive ? randomUUID() : id)),
            messages.map(({ body }) => body.product),
            messages.map(({ timeMs }) => new Date(timeMs)),
          ])
        })
    },
    async recentClicks() {
      const clicks = new Map<string, Map<number, number>>()
      type Bucket = { product: string; second: number; clicks: number }
      for (const bucket of await rows<Bucket>(clicksOf(schema), [shownSeconds + windowSeconds])) {
        const seconds = clicks.get(bucket.product) ?? new Map<number, number>()
        clicks.set(bucket.product, seconds.set(bucket.second, bucket.clicks))
      }
      return clicks
    },
    async figures() {
      const [figures, late, [totals]] = await Promise.all([
        rows<Rows['figures'][number]>(figuresOf(schema), [serviceNames]),
        rows<Rows['late'][number]>(lateOf(schema)),
        rows<Rows['totals']>(totalsOf(schema)),
      ])
      if (totals === undefined) throw new Error('the ledger has no totals')
      return figuresFrom({ figures, late, totals })
    },
    // Whoever reaches this page is at this machine: the server in front of it answers to localhost alone.
    operatorPage: (basePath, jaeger) =>
      nodeListener(
        operatorPage({
          store: postgresOperatorStore(pool, { schema, letters }),
          auth: () => ({ name: 'barista', role: 'viewer' }),
          basePath,
          ...(jaeger !== null && { traceUrl: `${jaeger}/trace/{trace}` }),
        }),
      ),
    async close() {
      await pool.query(`drop schema ${schema} cascade`)
      await pool.end()
    },
  }
}

function valuesOf({ service, order, customer, sequence, amount }: Effect): unknown[] {
  return [service, order, customer, sequence, amount]
}

function poolOf(config: pg.PoolConfig): pg.Pool {
  const pool = new pg.Pool({ ...config, connectionTimeoutMillis: 5_000 })
  // A connection that breaks must not end the process.
  return pool.on('error', () => {})
}
