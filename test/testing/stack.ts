import type { Pipeline } from '../../src/pipeline.ts'
import { deadLetter } from '../../src/dead-letter/dead-letter.ts'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { pipeline } from '../../src/pipeline.ts'
import { retry } from '../../src/retry/retry.ts'
import { timeout } from '../../src/retry/timeout.ts'
import { transaction } from '../../src/stores/postgres/transaction.ts'
import type { Effects } from '../../src/testing/effects.ts'
import type { Kit } from '../../src/testing/world.ts'

/** The recommended stack, with the effects in the transaction that completes the claim. */
export function ourStack<E extends Effects>({ store, clock, deadLetters, pool, handler, group }: Kit<E>): Pipeline {
  return pipeline(group)
    .use(deadLetter({ to: deadLetters, clock }))
    .use(idempotency({ store, clock }))
    .use(retry({ clock, maxAttempts: 3 }))
    .use(timeout({ afterMs: 60_000, clock }))
    .use(transaction(pool))
    .handle(
      handler(async ({ message, tx }) => {
        await tx.query('insert into orders', [message.id])
      }),
    )
}
