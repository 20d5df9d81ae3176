import { staged, type Claimed, type Delivery, type Middleware } from '../../core/delivery.ts'
import { RetryLater } from '../../core/errors.ts'
import type { SimulatedClient, SimulatedPool } from './simulated-database.ts'

type Transactional = Middleware<{ readonly tx: SimulatedClient }, Delivery & Partial<Claimed>>

/** A transaction around the handler, in which the claim is completed too: the least that any such stage does. */
export function simulatedTransaction(pool: SimulatedPool): Transactional {
  const middleware: Transactional = (next) =>
    async function transaction(delivery) {
      const tx = await pool.connect()
      try {
        await tx.query('BEGIN')
      } catch (cause) {
        throw new RetryLater(1000, { holds: 'pipeline', because: 'the database did not answer', cause })
      }
      let outcome
      try {
        outcome = await next({ ...delivery, tx })
        delivery.signal.throwIfAborted()
        await delivery.claim?.completeIn?.(tx)
      } catch (error) {
        await tx.query('ROLLBACK').catch(() => undefined)
        throw error
      }
      try {
        await tx.query('COMMIT')
      } catch (cause) {
        throw new RetryLater(0, { holds: 'lane', because: 'the answer to COMMIT was lost', cause })
      }
      return outcome
    }
  return staged(middleware, {
    name: 'transaction',
    facts: { database: 'simulated' },
    wantsOutside: { idempotency: 'the completion must commit together with the effects' },
    excludes: { transaction: 'two transactions do not commit together' },
  })
}
