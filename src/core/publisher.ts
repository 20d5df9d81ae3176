import { isPermanent, isPublishError, type PublishFailure } from './errors.ts'
import { badOption, callback, checkArgument, having } from './options.ts'
import { headersFrom, type Bytes, type Message } from './message.ts'

/**
 * Sends messages. Resolves only when every one of them is confirmed.
 * Rejects with a `PublishError` that names at least one unconfirmed message; all others were confirmed. A permanent error
 * that is not a `PublishError` refuses all of them. Any other error is an outage: the caller does not know which arrived,
 * and sends all of them again with the same ids.
 * Messages of one key arrive in the order of the list, without those refused for good.
 */
export interface Publisher<Body = Bytes> {
  publish(messages: readonly Outgoing<Body>[], options?: PublishOptions): Promise<void>
}

export interface PublishOptions {
  readonly signal?: AbortSignal
}

export interface Outgoing<Body = Bytes> extends Message<Body> {
  /** The topic, queue or subject. */
  readonly destination: string
  /**
   * Its number among the messages of one source, which never goes back, and which a repeat keeps. An outbox's relay sets it
   * on request. A broker that deduplicates by such numbers drops what it has already, and what it takes for that.
   */
  readonly sequence?: { readonly source: string; readonly number: number }
}

/** The parts of a message to send. Only `destination` and `body` are required. */
export type OutgoingParts<Body> = Pick<Outgoing<Body>, 'destination' | 'body'> & Partial<Outgoing<Body>>

/** Fills in a message's defaults: a fresh id, the destination as type, no key, no headers, the current time. */
export function outgoing<Body>(parts: OutgoingParts<Body>): Outgoing<Body> {
  if (typeof parts.destination !== 'string' || parts.destination === '')
    throw badOption('outgoing', 'destination', 'a text that is not empty', parts.destination)
  return {
    id: crypto.randomUUID(),
    type: parts.destination,
    key: null,
    headers: headersFrom([]),
    timeMs: Date.now(),
    ...parts,
  }
}

/**
 * Which of `count` messages a rejection of `publish` says were not confirmed. `undefined` means an outage: nothing is
 * known of any of them. A permanent error that is no `PublishError` refuses all of them.
 */
export function failuresIn(error: unknown, count: number): readonly PublishFailure[] | undefined {
  if (isPermanent(error)) return Array.from({ length: count }, (_, index) => ({ index, error, permanent: true }))
  if (!isPublishError(error)) return undefined
  const failures: unknown = error.failures
  // Without failures, or with a message that was not given, it says nothing of the messages: not that they were confirmed.
  if (!Array.isArray(failures) || failures.length === 0) return undefined
  return error.failures.every(({ index }) => Number.isInteger(index) && index >= 0 && index < count)
    ? error.failures
    : undefined
}

export type Publish<Body> = Publisher<Body>['publish']

/** Wraps `publish`. A middleware that encodes turns `Outer` bodies into `Inner` ones. */
export type PublishMiddleware<Outer, Inner = Outer> = (next: Publish<Inner>) => Publish<Outer>

export interface PublisherBuilder<Outer> extends Publisher<Outer> {
  /**
   * Adds a middleware outside those added before: the last added is outermost, the opposite of a pipeline. A pipeline starts
   * at the broker, a publisher ends there, and each `use` may change the type of body that the publisher takes.
   */
  use<Next = Outer>(middleware: PublishMiddleware<Next, Outer>): PublisherBuilder<Next>
}

/** Wraps a publisher in middleware, from the wire outwards. The middleware added last sees a message first. */
export function publisher<Body>(wire: Publisher<Body>): PublisherBuilder<Body> {
  checkArgument('publisher', 'wire', wire, having('publish'))
  return {
    publish: (messages, options) => wire.publish(messages, options),
    use(middleware) {
      checkArgument('publisher().use', 'middleware', middleware, callback)
      return publisher({ publish: middleware((messages, options) => wire.publish(messages, options)) })
    },
  }
}
