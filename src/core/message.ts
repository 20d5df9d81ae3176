/** An immutable message. The producer sets `id`; every redelivery has the same one. */
export interface Message<Body = unknown> {
  readonly id: string
  readonly type: string
  /** Messages of one key are handled in order, one at a time. `null`: no order. */
  readonly key: string | null
  readonly headers: Headers
  readonly body: Body
  /** When the message was produced, in ms since 1970. */
  readonly timeMs: number
}

/** Headers by name, without a prototype. A value is text if its bytes are UTF-8, else the bytes. An array holds repeats. */
export type Headers = Readonly<Record<string, HeaderValue | readonly HeaderValue[]>>
export type HeaderValue = string | Uint8Array

/** A body as the broker carries it. `null` is a tombstone. */
export type Bytes = Uint8Array | null

/**
 * A body as bytes: what a caller without types hands over as text, ArrayBuffer or view is taken for what it stands for.
 * `undefined` for anything else.
 */
export function bytesFrom(body: unknown): Bytes | undefined {
  if (body instanceof Uint8Array || body === null) return body
  if (body === undefined) return null
  if (typeof body === 'string') return Buffer.from(body)
  if (ArrayBuffer.isView(body)) return new Uint8Array(body.buffer, body.byteOffset, body.byteLength)
  return body instanceof ArrayBuffer || body instanceof SharedArrayBuffer ? new Uint8Array(body) : undefined
}

/** The names that travel. Every transport writes the first of each pair and reads both. */
export const wireNames = {
  id: ['message-id', 'ce_id'],
  type: ['message-type', 'ce_type'],
  time: ['message-time', 'ce_time'],
} as const

/** The place of a message in the outbox that it came from: `<source>/<timeline>/<id>`. */
export const outboxIdHeader = 'outbox-id'

const utf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Builds headers from a broker's name-value pairs. A hostile name such as `__proto__` is an ordinary name. */
export function headersFrom(
  pairs: Iterable<readonly [name: string, value: HeaderValue | readonly HeaderValue[]]>,
): Headers {
  const headers = emptyHeaders()
  for (const [name, value] of pairs) headers[name] = isRepeated(value) ? value.map(asHeaderValue) : asHeaderValue(value)
  return headers
}

/** The first value of a header as text. `undefined` if the header is missing or not text. */
export function headerText(headers: Headers, name: string): string | undefined {
  if (!Object.hasOwn(headers, name)) return undefined
  const value = headers[name]
  const first = isRepeated(value) ? value[0] : value
  return typeof first === 'string' ? first : undefined
}

/** The first of several header names that is there, as text. */
export function firstHeader(headers: Headers, names: readonly string[]): string | undefined {
  for (const name of names) {
    const text = headerText(headers, name)
    if (text !== undefined && text !== '') return text
  }
  return undefined
}

/** When a message was produced, as its header says: ms since 1970, or a date. The broker's time where it says neither. */
export function timeFrom(headers: Headers, brokerMs: number): number {
  const text = firstHeader(headers, wireNames.time)
  if (text === undefined) return brokerMs
  const time = /^\d{1,16}$/.test(text) ? Number(text) : Date.parse(text)
  return Number.isFinite(time) ? time : brokerMs
}

/**
 * The id, type and time of a message as headers, as far as its own headers do not say the same already: those travel
 * untouched, repeats and spelling included.
 */
export function wireHeaders({ id, type, timeMs, headers }: Omit<Message, 'key' | 'body'>): Record<string, string> {
  const more: Record<string, string> = {}
  if (headerText(headers, wireNames.id[0]) !== id) more[wireNames.id[0]] = id
  if (headerText(headers, wireNames.type[0]) !== type) more[wireNames.type[0]] = type
  const [name] = wireNames.time
  if (headerText(headers, name) === undefined || timeFrom(headers, NaN) !== timeMs) more[name] = String(timeMs)
  return more
}

/** A copy with some headers set; the prototype stays away. */
export function withHeaders(headers: Headers, more: Readonly<Record<string, HeaderValue>>): Headers {
  return Object.assign(emptyHeaders(), headers, more)
}

/**
 * A broker's key as text, byte for byte: UTF-8 as it is, anything else as `base64:…`.
 * Two keys are equal exactly when their texts are; {@link bytesOfKey} is the way back.
 */
export function keyFromBytes(bytes: Uint8Array | null | undefined): string | null {
  if (bytes === null || bytes === undefined) return null
  try {
    const text = utf8.decode(bytes)
    if (!text.startsWith(binaryKey)) return text
  } catch {
    // not text: kept as base64 below
  }
  return binaryKey + Buffer.from(bytes).toString('base64')
}

export function bytesOfKey(key: string): Buffer {
  return key.startsWith(binaryKey) ? Buffer.from(key.slice(binaryKey.length), 'base64') : Buffer.from(key)
}

const binaryKey = 'base64:'

/** Headers to fill, without a prototype: `__proto__` is a name like any other. */
export function emptyHeaders(): Record<string, HeaderValue | readonly HeaderValue[]> {
  // eslint-disable-next-line @typescript-eslint/no-unsafe-return -- Object.create is typed any; a null prototype is the point
  return Object.create(null)
}

/** Text where it is UTF-8, else the bytes. */
export function asHeaderValue(value: HeaderValue | null | undefined): HeaderValue {
  if (typeof value === 'string') return value
  // Kafka has headers without a value.
  if (value === null || value === undefined) return ''
  try {
    return utf8.decode(value)
  } catch {
    return value
  }
}

/** Whether a header came more than once. */
export function isRepeated(value: HeaderValue | readonly HeaderValue[] | undefined): value is readonly HeaderValue[] {
  return Array.isArray(value)
}
