import { HoldfastError } from '../../core/errors.ts'
import {
  asHeaderValue,
  emptyHeaders,
  firstHeader,
  isRepeated,
  wireNames,
  type Bytes,
  type Headers,
  type HeaderValue,
  type Message,
} from '../../core/message.ts'
import { oddHeaderOf, oddHeaders, oddHeadersFrom, type OddHeader } from '../odd-headers.ts'
import type { AmqpContainer, AmqpDelivery, AmqpMessage } from './rhea-client.ts'

/** Returns the id of a message. */
export type AmqpMessageId = (message: AmqpMessage) => string | undefined

/** What a handler finds as `delivery.raw`. */
export interface AmqpRaw {
  readonly message: AmqpMessage
  readonly delivery: AmqpDelivery
}

// An empty group-id is a group of its own, in which all such messages are one key.
const emptyKey = 'holdfast-empty-key'
/** Artemis drops a message whose value of this property it has seen on that address. */
export const duplicateIdProperty = '_AMQ_DUPL_ID'

const dataSection = 0x75

export interface ContentOptions {
  readonly codec: AmqpContainer['message']
  readonly duplicateIds: boolean
}

/** A message as bytes, durable: a broker that restarts keeps it. */
export function bytesOfMessage(
  { id, type, timeMs, key, headers, body }: Message<Bytes>,
  { codec, duplicateIds }: ContentOptions,
): Buffer {
  const properties: Record<string, unknown> = {}
  // An application-properties map holds no repeats, and rhea's plain objects lose the name `__proto__`.
  const odd: OddHeader[] = []
  for (const [name, value] of Object.entries(headers)) {
    if (isRepeated(value) || name === '__proto__' || name === oddHeaders || name === emptyKey)
      odd.push(oddHeaderOf(name, value))
    else properties[name] = typeof value === 'string' ? value : bufferOf(value)
  }
  if (odd.length > 0) properties[oddHeaders] = JSON.stringify(odd)
  if (key === '') properties[emptyKey] = ''
  if (duplicateIds) properties[duplicateIdProperty] = id
  return codec.encode({
    durable: true,
    message_id: id,
    subject: type,
    creation_time: new Date(timeMs),
    application_properties: properties,
    body: body === null ? null : codec.data_section(bufferOf(body)),
    ...(key === null || key === '' ? {} : { group_id: key }),
  })
}

/** One delivery of a message. Read once: a message without an id keeps the one that it was given here. */
export interface AmqpRecord {
  readonly raw: AmqpRaw
  readonly message: Message<Bytes>
  /** Its producer gave it no id: nobody knows it again when it is redelivered. */
  readonly isAnonymous: boolean
  /** What the id function threw. A message under a wrong id would pass for another one, so it is a nack. */
  readonly idError?: Error
}

/** Never throws: what rhea's callback throws ends the connection. */
export function recordFrom(raw: AmqpRaw, source: string, given: AmqpMessageId | undefined): AmqpRecord {
  const { message } = raw
  const properties = message.application_properties ?? {}
  const headers = headersOf(properties)
  const { id, idError } = idOf(message, headers, given)
  const record = {
    raw,
    message: {
      id: id ?? `anonymous/${crypto.randomUUID()}`,
      type: textIn(message.subject) ?? firstHeader(headers, wireNames.type) ?? source,
      key: Object.hasOwn(properties, emptyKey) ? '' : (textIn(message.group_id) ?? null),
      headers,
      body: bodyOf(message.body),
      timeMs: timeOf(message.creation_time),
    },
    isAnonymous: id === undefined && idError === undefined,
  }
  return idError === undefined ? record : { ...record, idError }
}

function idOf(
  message: AmqpMessage,
  headers: Headers,
  given: AmqpMessageId | undefined,
): { readonly id?: string | undefined; readonly idError?: Error } {
  if (given === undefined) return { id: ownIdOf(message.message_id) ?? firstHeader(headers, wireNames.id) }
  try {
    return { id: textIn(given(message)) }
  } catch (cause) {
    return { idError: new HoldfastError('bad-option', 'the id function threw', { cause }) }
  }
}

/** An id is text, a number, a UUID or bytes. */
function ownIdOf(id: unknown): string | undefined {
  if (typeof id === 'string') return textIn(id)
  if (typeof id === 'number' || typeof id === 'bigint') return String(id)
  return id instanceof Uint8Array ? textIn(bufferOf(id).toString('hex')) : undefined
}

function timeOf(time: unknown): number {
  const timeMs = time instanceof Date || typeof time === 'number' ? Number(time) : NaN
  return Number.isFinite(timeMs) ? timeMs : Date.now()
}

function headersOf(properties: Readonly<Record<string, unknown>>): Headers {
  const headers = emptyHeaders()
  for (const name of Object.keys(properties))
    if (name !== oddHeaders && name !== emptyKey && name !== duplicateIdProperty) headers[name] = read(properties[name])
  const odd = properties[oddHeaders]
  if (typeof odd === 'string') for (const [name, value] of oddHeadersFrom(odd)) headers[name] = value
  return headers
}

/** Text stays text and bytes stay bytes; a number, a symbol or what else AMQP has becomes text. */
function read(value: unknown): HeaderValue {
  if (typeof value === 'string') return value
  if (value === null || value === undefined) return ''
  if (value instanceof Uint8Array) return asHeaderValue(value)
  return typeof value === 'number' || typeof value === 'boolean' ? String(value) : asJson(value)
}

/** One data section is ours. JMS sends text as a value, others send several sections, and a value may be anything. */
function bodyOf(body: unknown): Bytes {
  if (body === null || body === undefined) return null
  if (body instanceof Uint8Array) return body
  if (typeof body === 'string') return Buffer.from(body)
  if (typeof body !== 'object' || !('typecode' in body) || !('content' in body)) return Buffer.from(asJson(body))
  const { typecode, content } = body
  if (typecode !== dataSection) return Buffer.from(asJson(content))
  if (Array.isArray(content)) return Buffer.concat(content.filter((part) => part instanceof Uint8Array))
  return content instanceof Uint8Array ? content : Buffer.from(asJson(content))
}

function asJson(value: unknown): string {
  try {
    return value instanceof Date ? value.toISOString() : String(JSON.stringify(value))
  } catch {
    return ''
  }
}

function textIn(value: unknown): string | undefined {
  return typeof value === 'string' && value !== '' ? value : undefined
}

function bufferOf(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
