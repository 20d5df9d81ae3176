import type { BatchFailure, BatchHandler } from '../../core/batch.ts'
import type { Claim, Claimed, Delivery } from '../../core/delivery.ts'
import { isAbandoned, isRetryLater, RetryLater } from '../../core/errors.ts'
import type { TransactionMiddleware } from './transaction.ts'

/**
 * A handler for `handleBatch()`: the effects of a batch and the completions of its claims commit together, or not at all.
 * A batch that fails is rolled back and taken apart, each message in a transaction of its own: so that only the one that
 * is to blame fails. The handler may run twice for a message, and is to touch nothing but `tx`.
 */
export function inOneTransaction<Tx, D extends Delivery & Partial<Claimed>>(
  transaction: TransactionMiddleware<Tx>,
  handler: (deliveries: readonly D[], tx: Tx) => Promise<unknown>,
): BatchHandler<D> {
  async function run(deliveries: readonly D[]): Promise<void> {
    const [first] = deliveries
    if (first === undefined) return
    const step = transaction(async ({ tx }) => {
      await handler(deliveries, tx)
      return 'handled'
    })
    const signal = AbortSignal.any(deliveries.map((each) => each.signal))
    await step({ ...first, signal, claim: claimOfAll(deliveries) })
  }

  return async function inOneTransaction(deliveries) {
    try {
      await run(deliveries)
      return []
    } catch (error) {
      if (deliveries.length === 1 || isAbandoned(error)) throw error
      // An outage is everybody's, and so is a COMMIT of which nobody knows whether it happened: it counts for none of
      // them. A lost session may be the fault of one.
      if (isRetryLater(error) && error.holds === 'pipeline') throw error
      if (isRetryLater(error) && error.holds === 'lane') throw uncounted(error)
    }
    const failures: BatchFailure<D>[] = []
    for (const delivery of deliveries)
      await run([delivery]).catch((error: unknown) => void failures.push({ delivery, error }))
    return failures
  }
}

function uncounted({ afterMs, holds, message: because, cause }: RetryLater): RetryLater {
  return new RetryLater(afterMs, { holds, because, cause })
}

/** Asked for in one breath, so that the store completes them in one statement. */
function claimOfAll(deliveries: readonly Partial<Claimed>[]): Claim {
  const completions = deliveries.flatMap(({ claim }) => claim?.completeIn ?? [])
  if (completions.length === 0) return {}
  return {
    async completeIn(tx) {
      const answers = await Promise.allSettled(completions.map((complete) => complete(tx)))
      const refused = answers.find((answer) => answer.status === 'rejected')
      if (refused === undefined) return
      // One of them was taken over: no outage, and the others can do without it.
      const oneIsLost = completions.length > 1 && isRetryLater(refused.reason)
      throw oneIsLost ? new Error('a claim of the batch was lost', { cause: refused.reason }) : refused.reason
    },
  }
}
