import type pg from 'pg'
import { seeded } from '../../../src/transports/memory/random.ts'
import type { Scenario } from '../scenario.ts'
import { dispatcher, messageIds } from '../../../test/support/dispatcher.ts'
import { openLedger } from '../../../test/support/ledger.ts'
import { pgbouncer } from '../../../test/support/pgbouncer.ts'
import { workload } from '../../../test/support/workload.ts'
import { outboxRun } from './outbox-runs.ts'

export const pooled: Scenario = {
  name: 'pgbouncer',
  what: 'everything goes through pgbouncer in transaction mode, where each transaction may meet another connection; it is killed with -9 in mid load',
  promise: 'effects once, nothing lost',
  needs: ['postgres'],
  breaks: { 'early-key': 'the key is recorded before the handler succeeded' },
  async run({ seed, full, broken, url, say, signal }) {
    const random = seeded(seed)
    const ids = messageIds(full ? 50_000 : 3_000)
    const kills = full ? 20 : 3
    const injected = { 'connections changed under a client': 0, 'kill -9': 0 }
    let recoveryMs = 0
    const pool = await pgbouncer(url('postgres'))
    const ledger = await openLedger(url('postgres'))
    const backends = new WeakMap<pg.PoolClient, number>()
    const orders = workload({
      ...{ url: pool.url, schema: ledger.schema, broken },
      async handler({ message, tx }) {
        const { rows } = await tx.query<{ pid: number }>('select pg_backend_pid() as pid')
        const pid = rows[0]?.pid ?? 0
        if ((backends.get(tx) ?? pid) !== pid) injected['connections changed under a client']++
        backends.set(tx, pid)
        await ledger.effect(tx, message.id)
      },
    })
    try {
      const broker = dispatcher({ ids, random, signal, deliver: orders.deliver })
      for (let n = 0; n < kills; n++) {
        await broker.until(() => broker.acked >= ((n + random()) * ids.length) / kills)
        say(`kill -9 at ${broker.acked} of ${ids.length}`)
        await pool.restart()
        injected['kill -9']++
        const backMs = performance.now()
        await broker.nextAck()
        recoveryMs = Math.max(recoveryMs, performance.now() - backMs)
      }
      await broker.done
      const notes = `8 transactions at once and 2 connections for claims, on 4 connections of the server; ${broker.nacked} deliveries were nacked`
      return { ...(await ledger.count(ids)), injected, outOfOrder: null, recoveryMs, notes }
    } finally {
      await orders.dispose()
      await pool.dispose()
      await ledger.dispose()
    }
  },
}

export const pooledRelays: Scenario = {
  name: 'outbox-pgbouncer',
  what: 'three relays work through pgbouncer in transaction mode, on four connections together, and are killed and stopped',
  promise: 'nothing lost, nothing invented, nothing given up, every key in order; repeats are counted',
  needs: [],
  async run(how) {
    const pools: Awaited<ReturnType<typeof pgbouncer>>[] = []
    try {
      return await outboxRun(
        how,
        ({ counts }) => ({
          'relays behind pgbouncer': 3,
          'kill -9': counts['kills'] ?? 0,
          SIGSTOP: counts['pauses'] ?? 0,
        }),
        {
          ...{ messages: 4_000, restarts: false, killEveryMs: 1500 },
          async via(url) {
            const pool = await pgbouncer(url)
            pools.push(pool)
            return pool.url
          },
        },
      )
    } finally {
      for (const pool of pools) await pool.dispose()
    }
  },
}
