import { isPermanent, isPublishError, type PublishFailure } from './errors.ts'
import { badOption, callback, checkArgument, having } from './options.ts'
import { headersFrom, type Bytes, type Message } from './message.ts'

/**
 * Sends messages. Resolves only when every one of them is confirmed.
 * Rejects with a `PublishError` that names at least one message that was not confirmed; the others were. A permanent
 * error that is no `PublishError` refuses all of them. Anything else is an outage: nothing is known, and all are to be
 * sent again with the same ids.
 * Messages of one key arrive in the order of the list, those that were refused for good left out.
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
}

/** What must be said of a message to send; the rest has defaults. */
export type OutgoingParts<Body> = Pick<Outgoing<Body>, 'destination' | 'body'> & Partial<Outgoing<Body>>

/** A message with its defaults: a fresh id, the destination as type, no key, no headers, now. */
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

/** Wraps the call. Turning `Outer` into `Inner` is how encoding works. */
export type PublishMiddleware<Outer, Inner = Outer> = (next: Publish<Inner>) => Publish<Outer>

export interface PublisherBuilder<Outer> extends Publisher<Outer> {
  /**
   * Wraps what there is, so the last added is outermost: the other way round than in a pipeline. A pipeline begins with
   * what the broker hands over; a publisher ends there, and each `use` may change the type of body that it takes.
   */
  use<Next = Outer>(middleware: PublishMiddleware<Next, Outer>): PublisherBuilder<Next>
}

/** A publisher that middleware is put around, from the wire outwards: the last `use` sees a message first. */
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
