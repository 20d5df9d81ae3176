export { encode, type Codec, type Decoder } from './codecs/codec.ts'
export { json, type JsonOptions, type Schema } from './codecs/json.ts'
export { type BatchFailure, type BatchHandler, type BatchOptions } from './batch.ts'
export { systemClock, type Clock } from './clock.ts'
export {
  staged,
  type Claim,
  type Claimed,
  type Delivery,
  type Facts,
  type Incoming,
  type Middleware,
  type Origin,
  type Outcome,
  type Place,
  type Stage,
  type StatementRunner,
  type Step,
  type Transactional,
} from './delivery.ts'
export { type Description } from './describe.ts'
export {
  AbandonedError,
  FailedBeforeError,
  HoldfastError,
  isAbandoned,
  isFailedBefore,
  isHoldfastError,
  isPermanent,
  isPublishError,
  isRetryLater,
  PermanentError,
  PublishError,
  RetryLater,
  type ErrorCode,
  type Failure,
  type FailureReason,
  type Holds,
  type PublishFailure,
  type RetryLaterOptions,
} from './errors.ts'
export { subscribe, type CircuitState, type ConsumerChange, type EventName, type Events } from './events.ts'
export { type HasHealth, type Health } from './health.ts'
export { headersFrom, headerText, type Bytes, type Headers, type HeaderValue, type Message } from './message.ts'
export { pipeline, type Fits, type Pipeline, type PipelineBuilder } from './pipeline.ts'
export {
  outgoing,
  publisher,
  type Outgoing,
  type OutgoingParts,
  type Publisher,
  type PublisherBuilder,
  type PublishMiddleware,
  type PublishOptions,
} from './publisher.ts'
export { on, route, type Handler, type RouteOptions } from './route.ts'
export {
  type ClaimRequest,
  type ClaimResult,
  type Held,
  type HeldClaim,
  type IdempotencyStore,
  type TransactionalIdempotencyStore,
} from './idempotency/store.ts'
export { idempotency, type IdempotencyOptions } from './idempotency/idempotency.ts'
export { keyFromDigest, keyFromHeader, keyFromId, keyOfParts, type KeyOf } from './idempotency/key.ts'
export { type Logger } from './log-lines.ts'
export { deadLetter, type DeadLetterOptions, type GivenUp } from './dead-letter/dead-letter.ts'
export { type DeadLetterMetadata } from './dead-letter/envelope.ts'
export { exponential, type Backoff, type BackoffOptions } from './retry/backoff.ts'
export { circuitBreaker, type CircuitBreaker, type CircuitBreakerOptions } from './retry/circuit-breaker.ts'
export { type RetryBudget } from './retry/budget.ts'
export { type Decision, type Recovery } from './retry/recovery.ts'
export { retry, type RetryOptions } from './retry/retry.ts'
export { timeout, type TimeoutOptions } from './retry/timeout.ts'
export { resilient, type ResilientOptions } from './resilient.ts'
