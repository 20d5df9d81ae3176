import { systemClock, type Clock } from './core/clock.ts'
import type { Decoder } from './core/codec.ts'
import { deadLetter, type DeadLetterOptions } from './dead-letter/dead-letter.ts'
import { staged, type Claimed, type Delivery, type Middleware } from './core/delivery.ts'
import { idempotency, type IdempotencyOptions } from './idempotency/idempotency.ts'
import type { IdempotencyStore } from './idempotency/store.ts'
import { consoleLogger, loggerKind, type Logger } from './logs/log-lines.ts'
import { logPipeline } from './logs/pipeline-logs.ts'
import type { Bytes } from './core/message.ts'
import {
  anything,
  callback,
  checkOptions,
  clockKind,
  count,
  either,
  having,
  list,
  ms,
  oneOf,
  required,
  type Kind,
} from './core/options.ts'
import { pipeline, type PipelineBuilder } from './core/pipeline.ts'
import type { Publisher } from './core/publisher.ts'
import { retry, type RetryOptions } from './retry/retry.ts'
import { timeout } from './retry/timeout.ts'

export interface ResilientOptions<Body> {
  readonly codec: Decoder<Body>
  /** Takes messages that failed for good. `false`: they are nacked and redelivered without end. */
  readonly deadLetters: Publisher | false
  /** The topic, queue or subject of the dead letters. @defaultValue the message's own name followed by `.dead-letters` */
  readonly deadLetterDestination?: DeadLetterOptions['destination']
  readonly store: IdempotencyStore
  /** Stages outside all others, outermost first, such as `tracing()` and `metrics({ registry })`. @defaultValue none */
  readonly outside?: readonly Middleware[]
  /** The scope of the idempotency keys. @defaultValue the pipeline's name */
  readonly scope?: IdempotencyOptions<Body>['scope']
  /** The idempotency key: deliveries with the same key are the same work. @defaultValue the message id */
  readonly key?: IdempotencyOptions<Body>['key']
  /** Refuses a known key that arrives with other content. @defaultValue `false` */
  readonly fingerprint?: IdempotencyOptions<Body>['fingerprint']
  /** Length of a claim's lease in ms. It is renewed while the handler runs. @defaultValue 30_000 */
  readonly leaseMs?: number
  /** How long a settled key is kept, in ms. @defaultValue 7 days */
  readonly retainMs?: number
  /** What to do when the claim's store call fails: wait, or handle without protection. @defaultValue `'pause'` */
  readonly onStoreError?: IdempotencyOptions<Body>['onStoreError']
  /** Most handler starts for one message, over all its deliveries, the first included. @defaultValue 5 */
  readonly maxAttempts?: number
  /** The waits between attempts. @defaultValue doubling from 100 ms to 30 s, with full jitter */
  readonly backoff?: RetryOptions['backoff']
  /** Decides for each error whether to retry. @defaultValue permanent errors are final, all others are retried */
  readonly recovery?: RetryOptions['recovery']
  /** Limits retries, as made by `retryBudget()`. @defaultValue no limit */
  readonly budget?: RetryOptions['budget']
  /** Longest wait within a delivery, in ms. For a longer wait the message is nacked with that delay. @defaultValue 5_000 */
  readonly sleepUpToMs?: number
  /**
   * A circuit around every attempt, made by `circuitBreaker({ name })` of `holdfast/policies`. Prefer a circuit around the
   * call of the dependency: `payments.run(…)`. @defaultValue none
   */
  readonly circuitBreaker?: Middleware
  /** Limits how many handlers run at once, made by `bulkhead({ maxConcurrent })`. @defaultValue none */
  readonly bulkhead?: Middleware
  /** Longest time for one attempt, in ms, before its signal aborts. `false`: no limit. @defaultValue 10_000 */
  readonly timeoutMs?: number | false
  /** Ms after `timeoutMs` until a handler that still runs is given up. @defaultValue `timeoutMs` */
  readonly abandonAfterMs?: number
  /** Logs a line for each nack and each dead letter, without payloads. `false`: no log. @defaultValue the console */
  readonly log?: Logger | false
  readonly clock?: Clock
  /** Random numbers between 0 and 1 for the jitter. @defaultValue `Math.random` */
  readonly random?: () => number
}

/**
 * Builds the recommended stack: dead letter, decoding, one claim per delivery, retries, and a deadline for each attempt.
 * It has a circuit breaker only if you pass one. It returns a builder: `.use(transaction(pool)).handle(…)`.
 */
export function resilient<Body>(name: string, options: ResilientOptions<Body>): PipelineBuilder<Bytes, Body, Claimed> {
  const {
    codec,
    deadLetters,
    deadLetterDestination,
    store,
    outside = [],
    scope,
    key,
    fingerprint,
    leaseMs,
    retainMs,
    onStoreError,
    maxAttempts = 5,
    backoff,
    recovery,
    budget,
    sleepUpToMs,
    circuitBreaker,
    bulkhead,
    timeoutMs = 10_000,
    abandonAfterMs,
    log = consoleLogger,
    clock = systemClock,
    random,
  } = checkOptions('resilient', options, {
    codec: required(having('decode')),
    deadLetters: required(either(oneOf(false), having('publish'))),
    deadLetterDestination: anything,
    store: required(having('claim')),
    outside: list,
    scope: anything,
    key: anything,
    fingerprint: anything,
    leaseMs: anything,
    retainMs: anything,
    onStoreError: anything,
    maxAttempts: count(),
    backoff: anything,
    recovery: anything,
    budget: anything,
    sleepUpToMs: anything,
    circuitBreaker: stageFrom('circuitBreaker'),
    bulkhead: stageFrom('bulkhead'),
    timeoutMs: either(oneOf(false), ms()),
    abandonAfterMs: anything,
    log: either(oneOf(false), loggerKind),
    clock: clockKind,
    random: callback,
  })

  const claims = idempotency<Body>({
    ...{ store, clock },
    ...given({ scope, key, fingerprint, leaseMs, retainMs, onStoreError }),
  })
  const logged: Middleware<Claimed, Delivery<Body>> = (next, place) => {
    const step = claims(next, place)
    logPipeline(name, log, step)
    return step
  }
  const around = outside.reduce<PipelineBuilder<Bytes, Bytes, unknown>>(
    (stack, stage) => stack.use(stage),
    pipeline(name),
  )
  const dead =
    deadLetters !== false && deadLetter({ to: deadLetters, ...given({ destination: deadLetterDestination }) })
  const claimed = (dead === false ? around : around.use(dead))
    .decode(codec)
    .use(staged(logged, claims.stage ?? { name: 'idempotency' }))
    .use(retry({ maxAttempts, clock, ...given({ backoff, recovery, budget, sleepUpToMs, random }) }))
  const guarded = [circuitBreaker, bulkhead].reduce(withStage, claimed)
  return timeoutMs === false
    ? guarded
    : guarded.use(timeout({ afterMs: timeoutMs, clock, ...given({ abandonAfterMs }) }))
}

function withStage<Body, Added>(
  stack: PipelineBuilder<Bytes, Body, Added>,
  stage: Middleware | undefined,
): PipelineBuilder<Bytes, Body, Added> {
  return stage === undefined ? stack : stack.use(stage)
}

/** Without what was left out. */
function given<Options extends object>(
  options: Options,
): { readonly [Name in keyof Options]?: Exclude<Options[Name], undefined> } {
  const entries = Object.entries(options).filter(([, value]) => value !== undefined)
  return Object.fromEntries(entries) as { readonly [Name in keyof Options]?: Exclude<Options[Name], undefined> }
}

/** A stage is made once, so that its health can be asked for and others can share it. */
function stageFrom(factory: string): Kind {
  return {
    wanted: `a stage: ${factory}({ … }) of holdfast/policies makes one`,
    fits: (value) => typeof value === 'function',
  }
}
