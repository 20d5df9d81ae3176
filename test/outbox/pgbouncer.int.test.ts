import pg from 'pg'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { outboxRelay } from '../../src/outbox/relay.ts'
import { postgresOutboxStore } from '../../src/stores/postgres/outbox/store.ts'
import { postgresOutbox } from '../../src/stores/postgres/outbox/outbox.ts'
import { havePgbouncer, pgbouncer } from '../support/pgbouncer.ts'
import { describeUnless } from '../support/skipped.ts'
import { describeOnBoth, fastSlots, outboxDatabase, pause, target, until, type OutboxDatabase } from './support.ts'

// Under CI the tests run anyway and fail with what to install.
const missing = !havePgbouncer() && process.env['CI'] !== 'true' ? 'pgbouncer is not installed' : undefined

describeUnless(missing, 'behind pgbouncer', () =>
  describeOnBoth('in transaction mode', (url) => {
    let db: OutboxDatabase
    let bouncer: Awaited<ReturnType<typeof pgbouncer>>
    let pool: pg.Pool
    const clients: pg.Client[] = []

    beforeEach(async () => {
      db = await outboxDatabase(url())
      bouncer = await pgbouncer(url())
      pool = new pg.Pool({ connectionString: bouncer.url, max: 12 })
      pool.on('error', () => {})
    })
    afterEach(async () => {
      await Promise.all(clients.splice(0).map((client) => client.end().catch(() => {})))
      await pool.end()
      await bouncer.dispose()
      await db.dispose()
    })

    async function client(): Promise<pg.Client> {
      const made = new pg.Client({ connectionString: bouncer.url })
      made.on('error', () => {})
      await made.connect()
      clients.push(made)
      return made
    }

    it('O-9: relays share the shards by leases, where both would have won a session lock', async () => {
      const [one, two] = [await client(), await client()]
      const lock = 'select pg_try_advisory_lock(hashtextextended($1, 0)) won'
      const won = async (of: pg.Client) => (await of.query<{ won: boolean }>(lock, [db.schema])).rows[0]?.won
      expect([await won(one), await won(two)]).toEqual([true, true])
      await pool.query('select pg_advisory_unlock_all()')

      const store = postgresOutboxStore(pool, { schema: db.schema })
      const claimed = await Promise.all(Array.from({ length: 10 }, (_, n) => store.claim(`relay ${n}`, 10_000, [])))
      const shards = claimed.flatMap((lease) => lease?.shard ?? [])
      expect(shards.length).toBeGreaterThan(0)
      expect(new Set(shards).size).toBe(shards.length)
    })

    it('O-10: publishes everything in order by polling, where LISTEN hears nothing', async () => {
      const listener = await client()
      let heard = 0
      listener.on('notification', () => heard++)
      await listener.query(`listen ${db.schema}`)
      await fastSlots(db)
      const to = target()
      const stop = new AbortController()
      const relays = [1, 2].map(() =>
        outboxRelay({
          store: postgresOutboxStore(pool, { schema: db.schema }),
          ...{ publisher: to, leaseMs: 1000, rotateEveryMs: 200, batchRows: 20 },
        }).run(stop.signal),
      )
      const outbox = postgresOutbox({ schema: db.schema })
      await db.pool.query(
        'create table counter (key int primary key, n int); insert into counter select n, 0 from generate_series(0, 4) n',
      )
      let committed = 0
      const end = Date.now() + 3000
      const write = async (): Promise<void> => {
        const writer = await client()
        while (Date.now() < end) {
          const key = Math.floor(Math.random() * 5)
          await writer.query('begin')
          const { rows } = await writer.query<{ n: number }>(
            `update ${db.schema}.counter set n = n + 1 where key = $1 returning n`,
            [key],
          )
          await outbox.add(writer, { id: `${key}:${rows[0]?.n}`, destination: 'orders', key: String(key), body: null })
          await writer.query('commit')
          await writer.query(`notify ${db.schema}`)
          committed++
        }
      }
      await Promise.all([write(), write(), write()])
      await until(() => new Set(to.ids()).size === committed, 'published')
      stop.abort()
      await Promise.all(relays)
      await pause(50)
      const last = new Map<string, number>()
      for (const id of new Set(to.ids())) {
        const [key = '', n] = id.split(':')
        expect(Number(n)).toBe((last.get(key) ?? 0) + 1)
        last.set(key, Number(n))
      }
      expect(heard).toBeLessThan(committed)
    })
  }),
)
