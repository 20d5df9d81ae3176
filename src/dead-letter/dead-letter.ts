import { sleep, systemClock, type Clock } from '../core/clock.ts'
import { staged, type Delivery, type Middleware, type Outcome, type Step } from '../core/delivery.ts'
import {
  claimBehind,
  failureFrom,
  isAbandoned,
  isRetryLater,
  RetryLater,
  textOf,
  type Failure,
} from '../core/errors.ts'
import { emitter } from '../core/events.ts'
import { whoseFault } from '../core/fault.ts'
import { asks, guarded } from '../core/guarded.ts'
import { bytesFrom, type Bytes } from '../core/message.ts'
import { callback, checkOptions, clockKind, count, either, flag, having, required, text } from '../core/options.ts'
import type { Publisher } from '../core/publisher.ts'
import { isForAnother, redrivenFrom, redriveHeader } from '../core/redrive.ts'
import { metadataOf, withMetadata, withRedactedHistory, type DeadLetterMetadata } from './envelope.ts'
import { isDeadLetterStore } from './store.ts'

export interface DeadLetterOptions {
  /** Publishes the dead letters. Its `publish` must resolve only when the broker has confirmed them. */
  readonly to: Publisher
  /** The topic, queue or subject. @defaultValue the message's own name followed by `.dead-letters` */
  readonly destination?: string | ((delivery: Delivery<Bytes>) => string)
  /** Removes what must not be kept from the metadata, such as secrets in error messages. @defaultValue nothing is removed */
  readonly redact?: (metadata: DeadLetterMetadata) => DeadLetterMetadata
  /** Adds the error's stack to the metadata. @defaultValue `false` */
  readonly includeStack?: boolean
  /** Most metadata in bytes. The rest is cut. @defaultValue 16_384 */
  readonly maxMetadataBytes?: number
  /** Returns false to nack the message instead of dead-lettering it. @defaultValue all are dead-lettered */
  readonly shouldDeadLetter?: (given: GivenUp) => boolean
  /** The host name in the history of a dead letter. @defaultValue `os.hostname()` */
  readonly host?: string
  /** The service's version in the history of a dead letter. @defaultValue none */
  readonly version?: string
  readonly clock?: Clock
}

/** A message that is about to become a dead letter. */
export interface GivenUp {
  readonly delivery: Delivery<Bytes>
  readonly error: unknown
  readonly failure: Failure
}

const deadLettered = emitter('dead-lettered')
const deadLetterFailed = emitter('dead-letter-failed')

const storeFailed = emitter('store-failed')

const retryPublishingMs = 1000
const tellMs = 2000
const leastMetadataBytes = 256

/**
 * Publishes a message that failed for good with its original bytes and headers, and acks it after the confirmation.
 * While dead-letter publishes fail, the pipeline waits: no message is dropped.
 */
export function deadLetter(options: DeadLetterOptions): Middleware<unknown, Delivery<Bytes>> {
  const {
    to,
    destination = besideOrigin,
    redact = (metadata: DeadLetterMetadata) => metadata,
    includeStack = false,
    maxMetadataBytes = 16_384,
    shouldDeadLetter = () => true,
    host,
    version,
    clock = systemClock,
  } = checkOptions('deadLetter', options, {
    to: required(having('publish')),
    destination: either(text, callback),
    redact: callback,
    includeStack: flag,
    maxMetadataBytes: count(256),
    shouldDeadLetter: callback,
    host: text,
    version: text,
    clock: clockKind,
  })

  function destinationOf(delivery: Delivery<Bytes>): string {
    if (typeof destination === 'string') return destination
    return guarded(
      'destination',
      () => destination(delivery),
      (answer) => typeof answer === 'string' && answer !== '',
      () => besideOrigin(delivery),
      'a text that is not empty',
    )
  }

  async function publish(delivery: Delivery<Bytes>, failure: Failure, error: unknown, target: string): Promise<void> {
    const { message, signal } = delivery
    const known = metadataOf(delivery, failure, {
      timeMs: clock.wall(),
      stack: includeStack ? stackOf(error) : null,
      claim: claimBehind(error, message.id),
      // Loaded with the first dead letter.
      host: host ?? process.getBuiltinModule('node:os').hostname(),
      version: version ?? null,
    })
    // Where nobody can say what must not be kept, the error's text is not kept.
    const redacted = guarded(
      'redact',
      () => redact(known),
      isMetadata,
      () => withoutText(known),
      'metadata',
    )
    const metadata = withRedactedHistory(redacted)
    const bytes = bytesFrom(message.body)
    const body = bytes === undefined ? Buffer.from(JSON.stringify(message.body)) : bytes
    const send = (maxBytes: number): Promise<void> =>
      to.publish([{ ...withMetadata({ ...message, body }, metadata, maxBytes), destination: target }], { signal })
    try {
      await send(maxMetadataBytes)
    } catch (cause) {
      // A message just below the broker's limit may be above it with all that is said about it.
      if (!isItsOwn(cause)) throw cause
      await send(leastMetadataBytes)
    }
  }

  async function giveUp(delivery: Delivery<Bytes>, error: unknown): Promise<Outcome> {
    // Not final: it is to come again, its handler still runs, or it was stopped half-way.
    if (isRetryLater(error) || isAbandoned(error) || delivery.signal.aborted) throw error
    const failure = failureFrom(error, delivery.message.id, delivery.attempt)
    if (!asks('shouldDeadLetter', () => shouldDeadLetter({ delivery, error, failure }), true)) throw error
    const target = destinationOf(delivery)
    try {
      await publish(delivery, failure, error, target)
    } catch (cause) {
      if (deadLetterFailed.active()) deadLetterFailed.publish({ delivery, error: cause, destination: target })
      const because = `'${target}' did not take the dead letter of message ${delivery.message.id}: ${textOf(cause).errorMessage}`
      // Refused for good: this message alone cannot go on, and an operator has to look.
      const holds = isItsOwn(cause) ? 'message' : 'pipeline'
      throw new RetryLater(retryPublishingMs, { holds, because, cause })
    }
    if (deadLettered.active()) deadLettered.publish({ delivery, error, reason: failure.reason })
    return 'dead-lettered'
  }

  /** Tells where the letter is kept that its redrive went well. What is not told shows at the next redrive. */
  async function tellResolved({ message, pipeline, signal }: Delivery<Bytes>): Promise<void> {
    const redriven = redrivenFrom(message.headers)
    if (redriven === undefined || !isDeadLetterStore(to)) return
    const { id, key, body } = message
    const told = to.resolved([{ pipeline, id, key, body, ...redriven }], { signal })
    await Promise.race([told, sleep(clock, tellMs)]).catch((error: unknown) => {
      if (storeFailed.active()) storeFailed.publish({ store: 'dead-letter', operation: 'resolve', error })
    })
  }

  async function redriven<D extends Delivery<Bytes>>(delivery: D, next: Step<D>): Promise<Outcome> {
    const { message, pipeline, origin } = delivery
    if (isForAnother(message.headers, pipeline, origin.destination, message.id)) return 'discarded'
    const outcome = await next(delivery).catch((error: unknown) => giveUp(delivery, error))
    if (outcome === 'handled' || outcome === 'duplicate') await tellResolved(delivery)
    return outcome
  }

  const middleware: Middleware<unknown, Delivery<Bytes>> = (next) =>
    function deadLetter(delivery) {
      if (Object.hasOwn(delivery.message.headers, redriveHeader)) return redriven(delivery, next)
      return next(delivery).then(undefined, (error: unknown) => giveUp(delivery, error))
    }
  return staged(middleware, {
    name: 'dead-letter',
    notInside: { decode: 'it must keep the untouched bytes' },
    excludes: { 'dead-letter': 'the inner one takes everything' },
  })
}

function besideOrigin({ origin }: Delivery): string {
  return `${origin.destination}.dead-letters`
}

function isMetadata(answer: unknown): boolean {
  return typeof answer === 'object' && answer !== null && 'reason' in answer && 'origin' in answer
}

function withoutText(metadata: DeadLetterMetadata): DeadLetterMetadata {
  return { ...metadata, errorMessage: '', errorStack: null }
}

/** Whether it is this one message that the target does not take: then no other has to wait. */
function isItsOwn(error: unknown): boolean {
  return whoseFault(error, 'infrastructure') === 'message'
}

function stackOf(error: unknown): string | null {
  try {
    return error instanceof Error ? (error.stack ?? null) : null
  } catch {
    return null
  }
}
