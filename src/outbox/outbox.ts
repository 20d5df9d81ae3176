import { encode, type Codec } from '../core/codec.ts'
import { PermanentError } from '../core/errors.ts'
import { headersFrom, withHeaders, type Bytes, type HeaderValue } from '../core/message.ts'
import { callback, checkOptions, count, having, requireCount, requireMethods, type Kind } from '../core/options.ts'
import { outgoing, type Outgoing, type Publish, type PublishMiddleware } from '../core/publisher.ts'
import { untilAborted } from '../core/signals.ts'
import { expiresHeader } from './expiry.ts'
import { headersToJson } from './headers-json.ts'

/** Sends messages with a transaction: all of them if it commits, none if it rolls back. */
export interface Outbox<Tx, Body = Bytes> {
  /**
   * Adds messages in `tx`, in the given order, and resolves to their ids. They are published only after the commit.
   * @throws PermanentError when a message can never be published: too large, not bytes, no destination. Nothing is written.
   */
  add(
    tx: Tx,
    messages: OutboxMessage<Body> | readonly OutboxMessage<Body>[],
    options?: AddOptions,
  ): Promise<readonly string[]>
}

export interface OutboxMessage<Body = Bytes> {
  /** The topic, queue or subject. */
  readonly destination: string
  readonly body: Body
  /** The message id, the same in every publish of the message. @defaultValue a random UUID */
  readonly id?: string
  /** The ordering key. Messages of one key are published in the order in which their transactions held a common lock. @defaultValue null */
  readonly key?: string | null
  /** @defaultValue the destination */
  readonly type?: string
  readonly headers?: Readonly<Record<string, HeaderValue | readonly HeaderValue[]>>
  /** Earliest time to publish: a date, or ms since 1970. Delayed messages are ordered by this time. */
  readonly delayUntil?: Date | number
  /**
   * Latest time to publish, by the database's clock: a date, or ms since 1970. A message that expires before it is published
   * is discarded with an `outbox-expired` event. The time travels as the header `message-expires-at`.
   * @defaultValue never
   */
  readonly expiresAt?: Date | number
}

export interface AddOptions {
  /**
   * Locks each key until the transaction ends. This keeps the order when nothing else serialises the writers of a key.
   * @defaultValue the outbox's own `strictOrder`, or `false`
   */
  readonly strictOrder?: boolean
  /** After an abort `add` sends nothing more to the database and rejects with the reason: roll the transaction back. */
  readonly signal?: AbortSignal
}

export interface OutboxOptions<Body = Bytes> {
  /** Largest message in bytes: body, key and headers together. @defaultValue 900_000, below Kafka's own limit of 1 MiB a batch */
  readonly maxBytes?: number
  /** Stores a message that is too large elsewhere, and returns what to publish instead. */
  readonly claimCheck?: (message: Outgoing) => Promise<Pick<Outgoing, 'body'> & Partial<Outgoing>>
  /** Encodes bodies, so that `add` takes typed ones. */
  readonly codec?: Pick<Codec<Body>, 'encode'>
  /** Middleware for the encoded messages before they are written, for example to add a trace context. */
  readonly through?: PublishMiddleware<Bytes>
}

/** For the checks of every outbox that takes these options. */
export const outboxKinds: { readonly [Name in keyof OutboxOptions]-?: Kind } = {
  maxBytes: count(),
  claimCheck: callback,
  codec: having('encode'),
  through: callback,
}

/** One row to insert. */
export interface OutboxEntry {
  readonly id: string
  readonly destination: string
  readonly key: string | null
  readonly type: string
  /** JSON text, see `headersToJson`; `null` for none. */
  readonly headers: string | null
  readonly body: Bytes
  readonly dueMs: number | null
}

/** The part of an outbox that knows no database: `insert` writes the rows that this prepares and checks. */
export function outbox<Tx, Body = Bytes>(
  insert: (tx: Tx, entries: readonly OutboxEntry[], options: AddOptions) => Promise<void>,
  options: OutboxOptions<Body> = {},
): Outbox<Tx, Body> {
  const {
    maxBytes = 900_000,
    claimCheck,
    codec,
    through = (next: Publish<Bytes>) => next,
  } = checkOptions('outbox', options, outboxKinds)
  requireCount('outbox', { maxBytes })
  if (codec !== undefined) requireMethods('outbox', 'codec', codec, ['encode'])
  const encoded: PublishMiddleware<Body, Bytes> = codec === undefined ? bytesOnly : encode(codec)

  async function checkedIn(message: Outgoing, entry: OutboxEntry): Promise<OutboxEntry> {
    if (claimCheck === undefined)
      throw refused(
        message,
        `has ${sizeOf(entry)} bytes, more than maxBytes ${maxBytes}; raise it or give a claimCheck`,
      )
    const smaller = entryOf({ ...message, ...(await claimCheck(message)) })
    if (sizeOf(smaller) <= maxBytes) return smaller
    throw refused(message, `has ${sizeOf(smaller)} bytes after its claim check, more than maxBytes ${maxBytes}`)
  }

  return {
    async add(tx, messages, options = {}) {
      const list = isList(messages) ? messages : [messages]
      if (list.length === 0) return []
      const { signal } = options
      signal?.throwIfAborted()
      let ids: readonly string[] = []
      const write: Publish<Bytes> = async (all) => {
        // Every message is checked before the first is written.
        const entries: OutboxEntry[] = []
        for (const message of all) {
          const entry = entryOf(message)
          entries.push(sizeOf(entry) <= maxBytes ? entry : await checkedIn(message, entry))
        }
        signal?.throwIfAborted()
        ids = entries.map((entry) => entry.id)
        await insert(tx, entries, options)
      }
      const adding = encoded(through(write))(list.map(completed), signal === undefined ? {} : { signal })
      await (signal === undefined ? adding : untilAborted(signal, adding))
      return ids
    },
  }
}

interface Scheduled<Body> extends Outgoing<Body> {
  readonly dueMs: number | null
}

function completed<Body>(given: OutboxMessage<Body>): Scheduled<Body> {
  if (!isObject(given)) throw new PermanentError(`outbox: a message must be an object`)
  const { headers = {}, delayUntil, expiresAt, ...message } = given
  if (typeof message.destination !== 'string' || message.destination === '')
    throw new PermanentError('outbox: a message has no destination')
  const named = outgoing(message)
  if (!isObject(headers)) throw refused(named, 'has headers that are not an object')
  const dueMs = instant(named, 'a delayUntil', delayUntil)
  const expiresMs = instant(named, 'an expiresAt', expiresAt)
  const all = headersFrom(Object.entries(headers))
  return {
    ...named,
    headers: expiresMs === null ? all : withHeaders(all, { [expiresHeader]: String(Math.floor(expiresMs)) }),
    dueMs,
  }
}

function instant(message: Outgoing<unknown>, name: string, time: unknown): number | null {
  const ms = msOf(time)
  if (ms === undefined) throw refused(message, `has ${name} that is neither a date nor ms since 1970`)
  return ms
}

/** Ms since 1970, `null` for none, `undefined` for what is no instant. */
export function msOf(time: unknown): number | null | undefined {
  if (time === undefined) return null
  const ms = time instanceof Date ? time.getTime() : time
  // The last instant that a Date can hold; PostgreSQL goes on for a little longer.
  return typeof ms === 'number' && ms >= 0 && ms <= 8.64e15 ? ms : undefined
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null
}

function entryOf(message: Outgoing): OutboxEntry {
  const { id, destination, key, type, body } = message
  requirePlain(message, 'id', id)
  requirePlain(message, 'destination', destination)
  requirePlain(message, 'type', type)
  if (key !== null) requirePlain(message, 'key', key)
  return { id, destination, key, type, body, headers: headersToJson(message), dueMs: dueOf(message) }
}

function requirePlain(message: Outgoing, name: string, value: unknown): void {
  if (typeof value !== 'string' || value === '') throw refused(message, `needs a text as ${name}`)
  // PostgreSQL refuses NUL in a text, and a lone surrogate has no UTF-8.
  if (value.includes('\0') || !value.isWellFormed()) throw refused(message, `has a ${name} that is not plain text`)
}

function sizeOf({ body, headers, key }: OutboxEntry): number {
  return (
    (body?.byteLength ?? 0) +
    (headers === null ? 0 : Buffer.byteLength(headers)) +
    (key === null ? 0 : Buffer.byteLength(key))
  )
}

/** Middleware passes on what it does not know, as long as it copies messages with a spread. */
function dueOf(message: Outgoing): number | null {
  return 'dueMs' in message && typeof message.dueMs === 'number' ? message.dueMs : null
}

const bytesOnly: PublishMiddleware<never, Bytes> = (next) => (messages, options) =>
  next(messages.map(requireBytes), options)

function requireBytes(message: Outgoing<unknown>): Outgoing {
  const { body } = message
  if (body !== null && !(body instanceof Uint8Array))
    throw refused(message, `has a body that is neither bytes nor null: give the outbox a codec`)
  return { ...message, body }
}

function refused(message: Outgoing<unknown>, why: string): PermanentError {
  return new PermanentError(`outbox: the message ${message.id} to ${message.destination} ${why}`)
}

function isList<T>(value: T | readonly T[]): value is readonly T[] {
  return Array.isArray(value)
}
