import pg from 'pg'
import { isHoldfastError } from '../../../src/core/errors.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { memoryIdempotencyStore } from '../../../src/idempotency/memory-store.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { inTransaction, transaction } from '../../../src/stores/postgres/index.ts'
import { seeded } from '../../../src/transports/memory/random.ts'
import type { Scenario } from '../scenario.ts'
import { dispatcher, messageIds } from '../../../test/support/dispatcher.ts'
import { openLedger } from '../../../test/support/ledger.ts'
import { workload, type InTransaction } from '../../../test/support/workload.ts'

/** What many write: a COMMIT that resolves is believed. */
function trusting(pool: pg.Pool): ReturnType<typeof transaction<pg.PoolClient>> {
  return inTransaction<pg.PoolClient>({
    checksCommit: true,
    runnerOf: (tx) => tx,
    async begin(work) {
      const tx = await pool.connect()
      try {
        await tx.query('begin')
        await work(tx)
        await tx.query('commit')
      } finally {
        tx.release()
      }
    },
  })
}

export const commitRefused: Scenario = {
  name: 'commit-refused',
  what: 'a handler swallows an error of its database; node-postgres then resolves a COMMIT that the server answered with ROLLBACK',
  promise: 'no ack without a commit: nothing lost, effects once, with the claims in PostgreSQL and elsewhere',
  needs: ['postgres'],
  breaks: { 'trusting-commit': 'a COMMIT that resolves is taken for one' },
  async run({ seed, full, broken, url, signal }) {
    const random = seeded(seed)
    const ids = messageIds(full ? 40_000 : 4_000)
    const swallowing = new Set(ids.filter(() => random() < 0.1))
    const injected = { 'errors swallowed': 0, 'COMMIT refused': 0 }
    const ledger = await openLedger(url('postgres'))
    await ledger.pool.query(
      `create table ${ledger.schema}.once (id int primary key); insert into ${ledger.schema}.once values (1)`,
    )

    async function handler({ message, tx }: Pick<InTransaction, 'message' | 'tx'>): Promise<void> {
      await ledger.effect(tx, message.id)
      if (!swallowing.delete(message.id)) return
      await tx.query(`insert into ${ledger.schema}.once values (1)`).catch(() => injected['errors swallowed']++)
    }
    const inside = workload({ url: url('postgres'), schema: ledger.schema, handler })
    const pool = new pg.Pool({ connectionString: url('postgres'), max: 8 })
    const outside = pipeline('elsewhere')
      .use(idempotency({ store: memoryIdempotencyStore() }))
      .use(broken === undefined ? transaction<pg.PoolClient>(pool) : trusting(pool))
      .handle(handler)
    try {
      const broker = dispatcher({
        ...{ ids, random, signal },
        async deliver(id) {
          try {
            // Half of them complete their claim in the transaction, and half do not.
            if (Number(id.slice(1)) % 2 === 0) return await inside.deliver(id)
            return await outside.dispatch({ message: { id, body: Buffer.from(id) } })
          } catch (error) {
            if (isHoldfastError(error) && error.code === 'commit-refused') injected['COMMIT refused']++
            throw error
          }
        },
      })
      await broker.done
      const missed = injected['errors swallowed'] - injected['COMMIT refused']
      return {
        ...(await ledger.count(ids)),
        ...{ injected, outOfOrder: null, recoveryMs: null },
        violations: missed === 0 ? [] : [`${missed} were acked although nothing was committed`],
      }
    } finally {
      await inside.dispose()
      await pool.end()
      await ledger.dispose()
    }
  },
}
