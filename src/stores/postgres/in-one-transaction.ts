import type { BatchFailure, BatchHandler } from '../../core/batch.ts'
import { ensureHeld, type Claim, type Claimed, type Delivery, type StatementRunner } from '../../core/delivery.ts'
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
  /** Answers those whose key is known already: they left the batch, and go the ordinary way. */
  async function run(deliveries: readonly D[]): Promise<BatchFailure<D>[]> {
    const [first] = deliveries
    if (first === undefined) return []
    let known: BatchFailure<D>[] = []
    const step = transaction(async ({ tx, runner }) => {
      const claimed = await claimAllIn(runner, deliveries)
      known = claimed.known
      for (const delivery of claimed.fresh) ensureHeld(delivery)
      if (claimed.fresh.length > 0) await handler(claimed.fresh, tx)
      return 'handled'
    })
    const signal = AbortSignal.any(deliveries.map((each) => each.signal))
    await step({ ...first, signal, claim: claimOfAll(deliveries) })
    return known
  }

  return async function inOneTransaction(deliveries) {
    try {
      return await run(deliveries)
    } catch (error) {
      if (deliveries.length === 1 || isAbandoned(error)) throw error
      // An outage concerns all, and so does a COMMIT that may or may not have happened: it counts for none of
      // them. A lost session may be the fault of one.
      if (isRetryLater(error) && error.holds === 'pipeline') throw error
      if (isRetryLater(error) && error.holds === 'lane') throw uncounted(error)
    }
    const failures: BatchFailure<D>[] = []
    for (const delivery of deliveries)
      await run([delivery]).then(
        (known) => void failures.push(...known),
        (error: unknown) => void failures.push({ delivery, error }),
      )
    return failures
  }
}

/** The claims that are made inside, in one statement. A key that is known takes its delivery out of the batch. */
async function claimAllIn<D extends Partial<Claimed>>(runner: StatementRunner, deliveries: readonly D[]) {
  const known: BatchFailure<D>[] = []
  const fresh: D[] = []
  const answers = await Promise.allSettled(deliveries.map(async ({ claim }) => claim?.claimIn?.(runner)))
  for (const [at, delivery] of deliveries.entries()) {
    const answer = answers[at]
    if (answer?.status === 'rejected') {
      if (!isRetryLater(answer.reason)) throw answer.reason
      known.push({ delivery, error: answer.reason })
    } else fresh.push(answer?.value === undefined ? delivery : { ...delivery, fence: answer.value })
  }
  return { known, fresh }
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
