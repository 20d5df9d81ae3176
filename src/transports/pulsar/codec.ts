import { HoldfastError } from '../../core/errors.ts'
import {
  emptyHeaders,
  firstHeader,
  timeFrom,
  wireHeaders,
  wireNames,
  type Bytes,
  type Headers,
  type Message,
} from '../../core/message.ts'
import { oddHeaderOf, oddHeaders, oddHeadersFrom, type OddHeader } from '../odd-headers.ts'
import type { EntryMessage } from './entry.ts'
import type { Metadata } from './protocol/commands.ts'

/** Returns the id of a message. */
export type PulsarMessageId = (properties: Readonly<Record<string, string>>) => string | undefined

const binaryKey = 'base64:'

/** The metadata of a message, but for its producer. */
export function metadataOf({ key, body, timeMs, ...message }: Message<Bytes>): Metadata {
  const properties: { readonly key: string; readonly value: string }[] = []
  // Properties are text, once each.
  const odd: OddHeader[] = []
  for (const [name, value] of Object.entries(message.headers)) {
    if (typeof value === 'string' && name !== '__proto__' && name !== oddHeaders) properties.push({ key: name, value })
    else odd.push(oddHeaderOf(name, value))
  }
  for (const [name, value] of Object.entries(wireHeaders({ ...message, timeMs }))) properties.push({ key: name, value })
  if (odd.length > 0) properties.push({ key: oddHeaders, value: JSON.stringify(odd) })
  return {
    properties,
    ...wireKeyOf(key),
    ...(timeMs > 0 && Number.isSafeInteger(timeMs) ? { eventTime: timeMs } : {}),
    ...(body === null ? { isNull: true } : {}),
  }
}

/** As it travels. */
export function wireKeyOf(key: string | null): Pick<Metadata, 'partitionKey' | 'isKeyBase64'> {
  if (key === null) return {}
  return key.startsWith(binaryKey)
    ? { partitionKey: key.slice(binaryKey.length), isKeyBase64: true }
    : { partitionKey: key }
}

/** Where a message was found, and how its id is read. */
export interface Found {
  readonly topic: string
  /** Stands for the id where the producer gave none. */
  readonly place: string
  readonly brokerMs: number
  readonly id: PulsarMessageId | undefined
}

/** Never throws: what the id function throws stands beside the message, which has its place for an id then. */
export function readMessage(
  entry: EntryMessage,
  { note, ...found }: Found & { readonly note: (said: string) => void },
): { readonly message: Message<Bytes>; readonly error?: Error } {
  try {
    const message = messageFrom(entry, found)
    if (message.id === found.place) note(withoutId(found.topic))
    return { message }
  } catch (error) {
    return { message: messageFrom(entry, { ...found, id: () => found.place }), error: error as Error }
  }
}

/** Never throws, but for what the id function throws. */
function messageFrom({ meta, body }: EntryMessage, { topic, place, brokerMs, id }: Found): Message<Bytes> {
  const headers = headersFrom(meta.properties ?? [])
  const given = id === undefined ? firstHeader(headers, wireNames.id) : idBy(id, meta)
  const { partitionKey, isKeyBase64 } = meta
  return {
    id: given === undefined || given === '' ? place : given,
    type: firstHeader(headers, wireNames.type) ?? topic,
    key: partitionKey === undefined ? null : isKeyBase64 === true ? binaryKey + partitionKey : partitionKey,
    headers,
    body: meta.isNull === true ? null : body,
    timeMs: timeFrom(headers, meta.eventTime ?? brokerMs),
  }
}

/** For `health()`. */
function withoutId(topic: string): string {
  const [name = topic] = topic.split(/-partition-(?=\d+$)/)
  return `topic ${name} has messages without an id: their place in the topic stands for it, so a producer's duplicate is handled twice. Set the property message-id when publishing`
}

function idBy(id: PulsarMessageId, { properties = [] }: EntryMessage['meta']): string | undefined {
  try {
    return id(Object.fromEntries(properties.map(({ key = '', value = '' }) => [key, value])))
  } catch (cause) {
    throw new HoldfastError('bad-option', 'the id function threw', { cause })
  }
}

function headersFrom(properties: NonNullable<Metadata['properties']>): Headers {
  const headers = emptyHeaders()
  for (const { key = '', value = '' } of properties) {
    if (key !== oddHeaders) headers[key] = value
    else for (const [name, odd] of oddHeadersFrom(value)) headers[name] = odd
  }
  return headers
}
