import type { Message as AmqpMessage, Options } from 'amqplib'
import { HoldfastError } from '../../core/errors.ts'
import {
  asHeaderValue,
  emptyHeaders,
  firstHeader,
  isRepeated,
  timeFrom,
  wireHeaders,
  wireNames,
  type Bytes,
  type Headers,
  type HeaderValue,
  type Message,
} from '../../core/message.ts'

/** What a message of amqplib must have to be read: those of `consume()` and of `get()` have it. */
export type RabbitmqMessage = AmqpMessage

/** Returns the id of a message. */
export type RabbitmqMessageId = (message: RabbitmqMessage) => string | undefined

/** A message as amqplib sends it. */
export interface RabbitmqContent {
  readonly content: Buffer
  readonly options: Options.Publish
}

// AMQP has no keys and no tombstones.
const keyHeader = 'message-key'
const tombstoneHeader = 'message-tombstone'

// amqplib reads a header table into a plain object, where a header named `__proto__` is lost.
const escape = 'holdfast%'

// AMQP's short strings.
const longestPropertyBytes = 255

/** Headers carry all of it. The properties repeat what has one, for consumers that know nothing of these headers. */
export function contentFrom({ id, type, timeMs, key, headers, body }: Message<Bytes>): RabbitmqContent {
  const table: Record<string, unknown> = {}
  for (const [name, value] of Object.entries(headers)) table[escaped(name)] = written(value)
  Object.assign(table, wireHeaders({ id, type, timeMs, headers }))
  if (key !== null) table[keyHeader] = key
  if (body === null) table[tombstoneHeader] = '1'
  return {
    content: body === null ? Buffer.alloc(0) : bufferOf(body),
    options: {
      headers: table,
      persistent: true,
      ...(isShort(id) ? { messageId: id } : {}),
      ...(isShort(type) ? { type } : {}),
      // In seconds.
      ...(timeMs >= 0 && Number.isFinite(timeMs) ? { timestamp: Math.floor(timeMs / 1000) } : {}),
    },
  }
}

/** One delivery of a message. Read once: a message without an id keeps the one that it was given here. */
export interface RabbitmqRecord {
  readonly raw: RabbitmqMessage
  readonly message: Message<Bytes>
  /** Its producer gave it no id: nobody knows it again when it is redelivered. */
  readonly isAnonymous: boolean
  /** What the id function threw. A message under a wrong id would pass for another one, so it is a nack. */
  readonly idError?: Error
}

/** Never throws. */
export function recordFrom(raw: RabbitmqMessage, source: string, given: RabbitmqMessageId | undefined): RabbitmqRecord {
  const { properties, content } = raw
  const { carried, key, isTombstone } = readHeaders(properties.headers)
  const { id, idError } = idOf(raw, carried, given)
  const message = {
    id: id ?? `anonymous/${crypto.randomUUID()}`,
    type: firstHeader(carried, wireNames.type) ?? text(properties.type) ?? source,
    key,
    headers: carried,
    body: isTombstone ? null : content,
    timeMs: timeFrom(carried, stampedMs(properties.timestamp)),
  }
  const isAnonymous = id === undefined && idError === undefined
  return idError === undefined ? { raw, message, isAnonymous } : { raw, message, isAnonymous, idError }
}

function idOf(
  raw: RabbitmqMessage,
  headers: Headers,
  given: RabbitmqMessageId | undefined,
): { readonly id?: string | undefined; readonly idError?: Error } {
  if (given === undefined) return { id: firstHeader(headers, wireNames.id) ?? text(raw.properties.messageId) }
  try {
    return { id: text(given(raw)) }
  } catch (cause) {
    const { deliveryTag } = raw.fields
    return { idError: new HoldfastError('bad-option', `the id function threw for delivery ${deliveryTag}`, { cause }) }
  }
}

/** AMQP's timestamps are whole seconds. */
function stampedMs(timestamp: unknown): number {
  return typeof timestamp === 'number' && Number.isFinite(timestamp) ? timestamp * 1000 : Date.now()
}

const none: NonNullable<AmqpMessage['properties']['headers']> = {}

interface ReadHeaders {
  readonly carried: Headers
  readonly key: string | null
  readonly isTombstone: boolean
}

function readHeaders(table: AmqpMessage['properties']['headers']): ReadHeaders {
  const carried = emptyHeaders()
  let key: string | null = null
  let isTombstone = false
  const given = table ?? none
  for (const written of Object.keys(given)) {
    const name = unescaped(written)
    const value = read(given[written])
    if (name === keyHeader) key = firstText(value)
    else if (name === tombstoneHeader) isTombstone = true
    else carried[name] = value
  }
  return { carried, key, isTombstone }
}

function firstText(value: HeaderValue | readonly HeaderValue[]): string | null {
  const first = isRepeated(value) ? value[0] : value
  return typeof first === 'string' ? first : null
}

/** Text stays text and bytes stay bytes; a number, a table or what else AMQP has becomes text. */
function read(value: unknown): HeaderValue | readonly HeaderValue[] {
  if (typeof value === 'string') return value
  if (!Array.isArray(value)) return readOne(value)
  const values = value.map(readOne)
  const [only] = values
  return only !== undefined && values.length === 1 ? only : values
}

function readOne(value: unknown): HeaderValue {
  if (typeof value === 'string') return value
  if (value instanceof Uint8Array) return asHeaderValue(value)
  if (typeof value !== 'object' || value === null) return String(value)
  if ('!' in value && value['!'] === 'timestamp' && 'value' in value) return String(value.value)
  return asJson(value)
}

/** The broker's `x-death` is a table. */
function asJson(value: object): string {
  try {
    return JSON.stringify(value)
  } catch {
    return ''
  }
}

function written(value: HeaderValue | readonly HeaderValue[]): unknown {
  if (typeof value === 'string') return value
  return value instanceof Uint8Array ? bufferOf(value) : value.map(written)
}

function escaped(name: string): string {
  return name === '__proto__' || name.startsWith(escape) ? escape + name : name
}

function unescaped(name: string): string {
  return name.startsWith(escape) ? name.slice(escape.length) : name
}

function text(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

function isShort(value: string): boolean {
  return Buffer.byteLength(value) <= longestPropertyBytes
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
