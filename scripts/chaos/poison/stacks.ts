import { json } from '../../../src/codecs/json.ts'
import type { Clock } from '../../../src/core/clock.ts'
import type { Delivery } from '../../../src/core/delivery.ts'
import { pipeline, type Pipeline } from '../../../src/core/pipeline.ts'
import type { Publisher } from '../../../src/core/publisher.ts'
import { deadLetter } from '../../../src/dead-letter/dead-letter.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import type { IdempotencyStore } from '../../../src/idempotency/store.ts'
import { resilient } from '../../../src/resilient.ts'
import { circuitBreaker } from '../../../src/retry/circuit-breaker.ts'
import { retry } from '../../../src/retry/retry.ts'
import { timeout } from '../../../src/retry/timeout.ts'
import { z } from 'zod'

/** `bug`: the handler itself throws. `outage`: its call fails as if the dependency were down. */
export type Poison = 'bug' | 'outage'

export const Sent = z.object({ atMs: z.number(), poison: z.enum(['bug', 'outage']).nullable() })
export type Sent = z.infer<typeof Sent>

export interface StackParts {
  readonly name: string
  readonly clock: Clock
  readonly store: IdempotencyStore
  readonly deadLetters: Publisher
  readonly deadLetterDestination?: string
  readonly random: () => number
  /** A good message was handled. */
  handled(sent: Sent): void
}

type Handler = (delivery: Pick<Delivery<Sent>, 'message' | 'signal'>) => Promise<void>

/** What the handler does; `call` is the call of the dependency. */
function handlerOf({ handled }: StackParts, call: (id: string, work: () => Promise<void>) => Promise<void>): Handler {
  return async ({ message }) => {
    const { poison } = message.body
    await call(message.id, async () => {
      if (poison === 'outage') throw Object.assign(new Error('503'), { status: 503 })
    })
    if (poison === 'bug') throw new TypeError('cannot read properties of undefined')
    handled(message.body)
  }
}

const plainCall = (_: string, work: () => Promise<void>): Promise<void> => work()

/** Each stack that the README and the docs show. */
export const stacks: Readonly<Record<string, (parts: StackParts) => Pipeline>> = {
  'resilient()'(parts) {
    return recommended(parts).handle(handlerOf(parts, plainCall))
  },
  'resilient(), payments.run()'(parts) {
    const payments = circuitBreaker({ name: parts.name, clock: parts.clock, random: parts.random })
    return recommended(parts).handle(handlerOf(parts, (id, work) => payments.run(work, { id })))
  },
  'resilient({ circuitBreaker })'(parts) {
    return recommended(parts, true).handle(handlerOf(parts, plainCall))
  },
  "the README's stack, payments.run()"(parts) {
    const { clock, random, store, deadLetters, name } = parts
    const payments = circuitBreaker({ name, clock, random })
    return pipeline(name)
      .use(deadLetter({ to: deadLetters, ...destinationOf(parts) }))
      .decode(json(Sent))
      .use(idempotency({ store, clock }))
      .use(retry({ clock, random }))
      .use(timeout({ afterMs: 10_000, clock }))
      .handle(handlerOf(parts, (id, work) => payments.run(work, { id })))
  },
}

function recommended(parts: StackParts, withCircuit = false) {
  const { name, clock, store, deadLetters, random } = parts
  return resilient(name, {
    ...{ codec: json(Sent), store, deadLetters, clock, random, log: false },
    ...(parts.deadLetterDestination !== undefined && { deadLetterDestination: parts.deadLetterDestination }),
    ...(withCircuit && { circuitBreaker: circuitBreaker({ name, clock, random }) }),
  })
}

function destinationOf({ deadLetterDestination }: StackParts): { readonly destination?: string } {
  return deadLetterDestination === undefined ? {} : { destination: deadLetterDestination }
}
