import { HoldfastError } from '../../core/errors.ts'
import {
  asHeaderValue,
  emptyHeaders,
  firstHeader,
  timeFrom,
  wireHeaders,
  wireNames,
  type Bytes,
  type Headers,
  type HeaderValue,
  type Message,
} from '../../core/message.ts'
import type { EntryMessage } from './entry.ts'
import type { Metadata } from './protocol/commands.ts'

/** Returns the id of a message. */
export type PulsarMessageId = (properties: Readonly<Record<string, string>>) => string | undefined

// Properties are text, once each.
const oddHeaders = 'holdfast-headers'
const binaryKey = 'base64:'

type Odd = readonly [name: string, value: readonly (string | { readonly base64: string })[], isList: boolean]

/** The metadata of a message, but for its producer. */
export function metadataOf({ key, body, timeMs, ...message }: Message<Bytes>): Metadata {
  const properties: { readonly key: string; readonly value: string }[] = []
  const odd: Odd[] = []
  for (const [name, value] of Object.entries(message.headers)) {
    if (typeof value === 'string' && name !== '__proto__' && name !== oddHeaders) properties.push({ key: name, value })
    else odd.push([name, (isList(value) ? value : [value]).map(written), isList(value)])
  }
  for (const [name, value] of Object.entries(wireHeaders({ ...message, timeMs }))) properties.push({ key: name, value })
  if (odd.length > 0) properties.push({ key: oddHeaders, value: JSON.stringify(odd) })
  return {
    properties,
    ...keyOf(key),
    ...(timeMs > 0 && Number.isSafeInteger(timeMs) ? { eventTime: timeMs } : {}),
    ...(body === null ? { isNull: true } : {}),
  }
}

function keyOf(key: string | null): Pick<Metadata, 'partitionKey' | 'isKeyBase64'> {
  if (key === null) return {}
  return key.startsWith(binaryKey)
    ? { partitionKey: key.slice(binaryKey.length), isKeyBase64: true }
    : { partitionKey: key }
}

/** Never throws, but for what the id function throws. */
export function messageFrom(
  { meta, body }: EntryMessage,
  {
    topic,
    place,
    brokerMs,
    id,
  }: {
    readonly topic: string
    readonly place: string
    readonly brokerMs: number
    readonly id: PulsarMessageId | undefined
  },
): Message<Bytes> {
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
    if (key !== oddHeaders) {
      headers[key] = value
      continue
    }
    for (const [name, values, many] of oddFrom(value)) {
      const read = values.map((each) =>
        typeof each === 'string' ? each : asHeaderValue(Buffer.from(each.base64, 'base64')),
      )
      headers[name] = many ? read : (read[0] ?? '')
    }
  }
  return headers
}

/** Nothing where somebody else wrote it. */
function oddFrom(json: string): readonly Odd[] {
  try {
    const parsed: unknown = JSON.parse(json)
    return Array.isArray(parsed) ? parsed.filter(isOdd) : []
  } catch {
    return []
  }
}

function isOdd(value: unknown): value is Odd {
  if (!Array.isArray(value)) return false
  const [name, values] = value as unknown[]
  const fits = (each: unknown): boolean =>
    typeof each === 'string' ||
    (typeof each === 'object' && each !== null && typeof Reflect.get(each, 'base64') === 'string')
  return typeof name === 'string' && Array.isArray(values) && values.every(fits)
}

function written(value: HeaderValue): string | { readonly base64: string } {
  return typeof value === 'string' ? value : { base64: Buffer.from(value).toString('base64') }
}

function isList(value: HeaderValue | readonly HeaderValue[]): value is readonly HeaderValue[] {
  return Array.isArray(value)
}
