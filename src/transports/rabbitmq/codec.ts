import type { Message as AmqpMessage, Options } from 'amqplib'
import {
  asHeaderValue,
  emptyHeaders,
  firstHeader,
  headerText,
  wireHeaders,
  wireNames,
  type Bytes,
  type Headers,
  type HeaderValue,
  type Message,
} from '../../core/message.ts'

/** What a message of amqplib must have to be read: those of `consume()` and of `get()` have it. */
export type RabbitmqMessage = AmqpMessage

/** Gives the id of a message, from wherever its producer put it. */
export type RabbitmqMessageId = (message: RabbitmqMessage) => string | undefined

/** A message as amqplib sends it. */
export interface RabbitmqContent {
  readonly content: Buffer
  readonly options: Options.Publish
}

// AMQP has neither keys nor tombstones.
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

/** A message as it is read. `id` is `undefined` where its producer gave none. Never throws. */
export function messageFrom(
  raw: RabbitmqMessage,
  source: string,
  given: RabbitmqMessageId | undefined,
): Omit<Message<Bytes>, 'id'> & { readonly id: string | undefined } {
  const { properties, content } = raw
  const headers = readHeaders(properties.headers)
  const key = headerText(headers, keyHeader) ?? null
  const isTombstone = Object.hasOwn(headers, tombstoneHeader)
  const carried = emptyHeaders()
  for (const name of Object.keys(headers))
    if (name !== keyHeader && name !== tombstoneHeader) carried[name] = headers[name] ?? ''
  return {
    id: given === undefined ? (firstHeader(carried, wireNames.id) ?? text(properties.messageId)) : givenId(raw, given),
    type: firstHeader(carried, wireNames.type) ?? text(properties.type) ?? source,
    key,
    headers: carried,
    body: isTombstone ? null : content,
    timeMs: timeOf(firstHeader(carried, wireNames.time), properties.timestamp),
  }
}

/** Bytes that nobody can read have no id in them: what decodes them says so, and they go to the dead letter. */
function givenId(raw: RabbitmqMessage, given: RabbitmqMessageId): string | undefined {
  try {
    return text(given(raw))
  } catch {
    return undefined
  }
}

function timeOf(header: string | undefined, timestamp: unknown): number {
  const time = header === undefined ? NaN : /^\d{1,16}$/.test(header) ? Number(header) : Date.parse(header)
  if (Number.isFinite(time)) return time
  return typeof timestamp === 'number' && Number.isFinite(timestamp) ? timestamp * 1000 : Date.now()
}

function readHeaders(table: unknown): Headers {
  const headers = emptyHeaders()
  if (typeof table !== 'object' || table === null) return headers
  for (const [name, value] of Object.entries(table)) headers[unescaped(name)] = read(value)
  return headers
}

/** Text stays text and bytes stay bytes; a number, a table or what else AMQP has becomes text. */
function read(value: unknown): HeaderValue | readonly HeaderValue[] {
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
