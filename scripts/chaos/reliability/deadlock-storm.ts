import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { sqlState } from '../../../src/stores/postgres/failures.ts'
import { seeded } from '../../../src/transports/memory/random.ts'
import type { Scenario } from '../scenario.ts'
import { dispatcher, messageIds } from '../../../test/support/dispatcher.ts'
import { openLedger } from '../../../test/support/ledger.ts'
import { workload } from '../../../test/support/workload.ts'

/** A deadlock is looked for after this long, so that a run sees many. */
const detectMs = 10

export const deadlockStorm: Scenario = {
  name: 'deadlock-storm',
  what: 'handlers lock the same rows in different orders, and other transactions lock the claims against their order: the server breaks deadlocks (40P01)',
  promise: 'effects once, nothing lost; a deadlock in a claim is no failure of the message',
  needs: ['postgres'],
  async run({ seed, full, broken, url, signal }) {
    const random = seeded(seed)
    const ids = messageIds(full ? 10_000 : 800)
    const rows = 12
    const concurrency = 16
    const rounds = full ? 200 : 15
    const injected = { 'deadlocks in handlers': 0, 'deadlocks in the store': 0 }
    const storeErrors = { escaped: 0 }
    const ledger = await openLedger(url('postgres'))
    const { schema, pool } = ledger
    await pool.query(
      `create table ${schema}.accounts (id int primary key, n int not null); insert into ${schema}.accounts select n, 0 from generate_series(1, ${rows}) n`,
    )
    const quick = { options: `-c deadlock_timeout=${detectMs}` }
    const orders = workload({
      ...{ url: url('postgres'), schema, broken, concurrency, pools: quick },
      onStoreError(error) {
        if (sqlState(error) === '40P01') injected['deadlocks in the store']++
      },
      around: (store) => ({
        ...store,
        claim: (request) =>
          store.claim(request).catch((error: unknown) => {
            storeErrors.escaped++
            throw error
          }),
      }),
      async handler({ message, tx }) {
        const first = 1 + Math.floor(random() * rows)
        const second = 1 + ((first + Math.floor(random() * (rows - 1))) % rows)
        try {
          for (const id of [first, second]) {
            await tx.query(`update ${schema}.accounts set n = n + 1 where id = $1`, [id])
            await sleep(random() * 2)
          }
        } catch (error) {
          if (sqlState(error) === '40P01') injected['deadlocks in handlers']++
          throw error
        }
        await ledger.effect(tx, message.id)
      },
    })

    const meddler = new pg.Client({ connectionString: url('postgres'), options: '-c deadlock_timeout=10s' })
    /**
     * Many messages come again at once, as after a rebalance, and their claims travel together; meanwhile somebody locks
     * the same rows from the other end, and is more patient, so that it is the claims that are chosen to fail.
     */
    async function collide(ids: readonly string[]): Promise<void> {
      await meddler.query('begin')
      const locking = (async () => {
        for (const key of [...ids].sort().reverse()) {
          await meddler.query(`select 1 from ${schema}.idempotency where key = $1 for update`, [key])
          await sleep(1)
        }
      })()
      await sleep(random() * 10)
      const coming = ids.map((id) => orders.deliver(id).catch(() => {}))
      await locking
      await meddler.query('rollback')
      await Promise.all(coming)
    }

    try {
      await meddler.connect()
      const acked: string[] = []
      const deliver = async (id: string) => {
        const outcome = await orders.deliver(id)
        acked.push(id)
        return outcome
      }
      const broker = dispatcher({ ids, random, signal, concurrency, deliver })
      for (let n = 1; n <= rounds; n++) {
        await broker.until(() => broker.acked >= (n * ids.length) / (rounds + 1))
        await collide([...new Set(acked)].slice(-30))
      }
      await broker.done
      const { rows: sums } = await pool.query<{ n: string }>(`select sum(n) n from ${schema}.accounts`)
      const wrong = Number(sums[0]?.n) - 2 * ids.length
      return {
        ...(await ledger.count(ids)),
        ...{ injected, outOfOrder: null, recoveryMs: null },
        violations: [
          ...(wrong === 0 ? [] : [`the accounts are ${wrong} off`]),
          ...(storeErrors.escaped === 0 ? [] : [`${storeErrors.escaped} claims failed for contention`]),
        ],
        notes: `${broker.nacked} deliveries were nacked`,
      }
    } finally {
      await meddler.end()
      await orders.dispose()
      await ledger.dispose()
    }
  },
}
