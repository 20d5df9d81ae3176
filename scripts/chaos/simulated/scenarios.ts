import { json } from '../../../src/codecs/json.ts'
import { deadLetter } from '../../../src/dead-letter/dead-letter.ts'
import type { Middleware } from '../../../src/core/delivery.ts'
import { isPermanent } from '../../../src/core/errors.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { pipeline, type Pipeline } from '../../../src/core/pipeline.ts'
import { resilient } from '../../../src/resilient.ts'
import { circuitBreaker } from '../../../src/retry/circuit-breaker.ts'
import { retry } from '../../../src/retry/retry.ts'
import { timeout } from '../../../src/retry/timeout.ts'
import { transaction } from '../../../src/stores/postgres/transaction.ts'
import { keyed, type Effects } from '../../../src/testing/effects.ts'
import { scenarioOf, type ExploreOptions } from '../../../src/testing/explorer/explore.ts'
import type { Kit, Scenario } from '../../../src/testing/world/world.ts'
import { z } from 'zod'
import { outboxScenario } from './outbox-world.ts'
import { parkingScenario } from './parking-world.ts'
import { acksTogether, cumulativeAcks, requeueing, singleAcks } from './queue-consumer.ts'

/** The recommended guarantee: the effects commit in the transaction that completes the claim. */
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

const anything = json(z.object({ id: z.string(), number: z.number() }))
export const charge = keyed(
  (_id: string) => {},
  (id) => id,
)

/** `resilient()` as it is recommended, before a target that knows an idempotency key. */
export function recommended({ store, clock, deadLetters, handler, group, effects }: Kit<{ charge: typeof charge }>) {
  return resilient(group, { codec: anything, deadLetters, store, clock, log: false, maxAttempts: 3 }).handle(
    handler(({ message }) => effects.charge(message.body.id)),
  )
}

/** A breaker around each attempt, before the same target. */
export function guarded({ store, clock, deadLetters, handler, group, effects }: Kit<{ charge: typeof charge }>) {
  return pipeline(group)
    .use(deadLetter({ to: deadLetters, clock }))
    .use(idempotency({ store, clock }))
    .use(retry({ clock, maxAttempts: 3 }))
    .use(circuitBreaker({ name: 'payments', openAfter: 2, looksDown: () => true, clock }))
    .handle(handler(({ message }) => effects.charge(message.id)))
}

const beatMs = 2_000

/**
 * Poison whose failures look like an outage, behind a breaker that takes every error for one. The dependency answers
 * `others` too: only by that can the breaker tell such a message from an outage, and let it die.
 */
export function lookalike({ others = true }: { readonly others?: boolean } = {}) {
  return ({ store, clock, deadLetters, handler, group, effects }: Kit<{ charge: typeof charge }>): Pipeline => {
    const payments = circuitBreaker({ name: 'payments', openAfter: 2, looksDown: () => true, clock })
    const ask = (): void => {
      payments.run(async () => {}).catch(() => undefined)
      clock.after(beatMs, ask, true)
    }
    if (others) clock.after(beatMs, ask, true)
    const inDisguise: Middleware = (next) => (delivery) =>
      next(delivery).catch((error: unknown) => {
        throw isPermanent(error) ? new Error('503', { cause: error }) : error
      })
    return pipeline(group)
      .use(deadLetter({ to: deadLetters, clock }))
      .use(idempotency({ store, clock }))
      .use(retry({ clock, maxAttempts: 3 }))
      .use(payments)
      .use(inDisguise)
      .handle(handler(({ message }) => effects.charge(message.id)))
  }
}

type World = Pick<Scenario, 'consumer'>

function scenario<E extends Effects>(options: ExploreOptions<E>, world: World = {}) {
  return async (): Promise<Scenario> => ({ ...(await scenarioOf(options)), ...world })
}

const small = { messages: 2, keys: 1, partitions: 1 }

/** Our own stack in the worlds that the million schedules are run in. */
export const scenarios: Readonly<Record<string, () => Promise<Scenario>>> = {
  transaction: scenario({ ...small, pipeline: ourStack }),
  'transaction-wide': scenario({ messages: 5, keys: 3, pipeline: ourStack }),
  'transaction-queue': scenario({ messages: 3, keys: 2, pipeline: ourStack }, { consumer: singleAcks }),
  'transaction-requeue': scenario({ messages: 3, keys: 2, pipeline: ourStack }, { consumer: requeueing }),
  'transaction-acks-together': scenario({ messages: 5, keys: 3, pipeline: ourStack }, { consumer: acksTogether }),
  'transaction-acks-cumulative': scenario({ messages: 5, keys: 3, pipeline: ourStack }, { consumer: cumulativeAcks }),
  'transaction-groups': scenario({ ...small, consumers: 1, groups: ['billing', 'mail'], pipeline: ourStack }),
  recommended: scenario({ ...small, pipeline: recommended, effects: { charge } }),
  breaker: scenario({ messages: 3, keys: 2, pipeline: guarded, effects: { charge } }),
  'breaker-queue': scenario({ messages: 3, keys: 2, pipeline: guarded, effects: { charge } }, { consumer: singleAcks }),
  'breaker-lookalike': scenario({ messages: 3, keys: 2, pipeline: lookalike(), effects: { charge } }),
  outbox: async () => outboxScenario(),
  parking: async () => parkingScenario(),
  'parking-block': async () => parkingScenario({ whenDead: 'block-key' }),
  'parking-charge': async () => parkingScenario({ effect: 'charge' }),
  'parking-together': async () => parkingScenario({ together: true }),
  'parking-queue': async () => parkingScenario({ consumer: singleAcks }),
  'parking-wide': async () =>
    parkingScenario({ size: { messages: 6, consumers: 3, partitions: 2 }, keys: 2, whenDead: 'block-key' }),
  'recommended-queue': scenario(
    { messages: 3, keys: 2, pipeline: recommended, effects: { charge } },
    { consumer: singleAcks },
  ),
}
