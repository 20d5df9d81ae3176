export { encode, type Codec, type Decoder } from './core/codec.ts'
export { json, type JsonOptions, type Schema } from './codecs/json.ts'
export { type BatchFailure, type BatchHandler, type BatchOptions } from './core/batch.ts'
export { systemClock, type Clock } from './core/clock.ts'
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
} from './core/delivery.ts'
export { type Description } from './core/describe.ts'
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
} from './core/errors.ts'
export { subscribe, type CircuitState, type ConsumerChange, type EventName, type Events } from './core/events.ts'
export { type HasHealth, type Health } from './core/health.ts'
export { headersFrom, headerText, type Bytes, type Headers, type HeaderValue, type Message } from './core/message.ts'
export { pipeline, type Fits, type Pipeline, type PipelineBuilder } from './core/pipeline.ts'
export {
  outgoing,
  publisher,
  type Outgoing,
  type OutgoingParts,
  type Publisher,
  type PublisherBuilder,
  type PublishMiddleware,
  type PublishOptions,
} from './core/publisher.ts'
export { on, route, type Handler, type RouteOptions } from './codecs/route.ts'
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
export { type Logger } from './logs/log-lines.ts'
export { deadLetter, type DeadLetterOptions, type GivenUp } from './dead-letter/dead-letter.ts'
export { type DeadLetterMetadata } from './dead-letter/envelope.ts'
export { retry, type RetryOptions } from './retry/retry.ts'
export { timeout, type TimeoutOptions } from './retry/timeout.ts'
export { resilient, type ResilientOptions } from './resilient.ts'
