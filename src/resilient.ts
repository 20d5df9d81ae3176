import { systemClock, type Clock } from './core/clock.ts'
import type { Decoder } from './core/codec.ts'
import { deadLetter } from './dead-letter/dead-letter.ts'
import type { Claimed, Middleware } from './core/delivery.ts'
import { idempotency, type IdempotencyOptions } from './idempotency/idempotency.ts'
import type { IdempotencyStore } from './idempotency/store.ts'
import { consoleLogger, deliveryLines, loggerKind, logLines, type Logger } from './logs/log-lines.ts'
import type { Bytes } from './core/message.ts'
import { anything, checkOptions, clockKind, count, either, having, list, ms, oneOf, required } from './core/options.ts'
import { pipeline, type PipelineBuilder } from './core/pipeline.ts'
import type { Publisher } from './core/publisher.ts'
import { circuitBreaker } from './retry/circuit-breaker.ts'
import { retry } from './retry/retry.ts'
import { timeout } from './retry/timeout.ts'

export interface ResilientOptions<Body> {
  readonly codec: Decoder<Body>
  /** Where messages go that cannot be handled. */
  readonly deadLetters: Publisher
  readonly store: IdempotencyStore
  /** Stages around all others, outermost first, such as `tracing()` and `metrics({ registry })`. @defaultValue none */
  readonly outside?: readonly Middleware[]
  /** The scope of the idempotency keys. @defaultValue the pipeline's name */
  readonly scope?: IdempotencyOptions<Body>['scope']
  /** What makes two deliveries the same work. @defaultValue the message id */
  readonly key?: IdempotencyOptions<Body>['key']
  /** @defaultValue 5 */
  readonly maxAttempts?: number
  /** How long one attempt may take. @defaultValue 10_000 */
  readonly timeoutMs?: number
  /** Takes a line for each nack and each dead letter, without payloads; `false` for none. @defaultValue the console */
  readonly log?: Logger | false
  readonly clock?: Clock
}

/**
 * The recommended stack: dead letter, decoding, one claim per delivery, retries with a circuit breaker that sees every
 * attempt, and a deadline for each. Goes on as a builder: `.use(transaction(pool)).handle(…)`.
 */
export function resilient<Body>(name: string, options: ResilientOptions<Body>): PipelineBuilder<Bytes, Body, Claimed> {
  const {
    codec,
    deadLetters,
    store,
    outside = [],
    scope,
    key,
    maxAttempts = 5,
    timeoutMs = 10_000,
    log = consoleLogger,
    clock = systemClock,
  } = checkOptions('resilient', options, {
    codec: required(having('decode')),
    deadLetters: required(having('publish')),
    store: required(having('claim')),
    outside: list,
    scope: anything,
    key: anything,
    maxAttempts: count(),
    timeoutMs: ms(),
    log: either(oneOf(false), loggerKind),
    clock: clockKind,
  })
  const built = outside
    .reduce<PipelineBuilder<Bytes, Bytes, unknown>>((stack, stage) => stack.use(stage), pipeline(name))
    .use(deadLetter({ to: deadLetters }))
    .decode(codec)
    .use(idempotency<Body>({ store, clock, ...(scope !== undefined && { scope }), ...(key !== undefined && { key }) }))
    .use(retry({ maxAttempts, clock }))
    // One message that fails at every attempt must not open the circuit by itself.
    .use(circuitBreaker({ name, openAfter: 2 * maxAttempts, clock }))
    .use(timeout({ afterMs: timeoutMs, clock }))
  logOnce(name, log)
  return built
}

const logging = new Map<string, () => void>()

/** One set of listeners for a name, however often a pipeline of that name is built. */
function logOnce(name: string, log: Logger | false): void {
  logging.get(name)?.()
  logging.delete(name)
  if (log === false) return
  const events = ['nacked', 'dead-lettered', 'dead-letter-failed'] as const
  logging.set(name, logLines(log, deliveryLines, events, new Set([name])))
}
