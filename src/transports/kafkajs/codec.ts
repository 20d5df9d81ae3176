import type { IHeaders, KafkaMessage, Message as KafkaOutgoing } from 'kafkajs'
import type { LogClient } from '../../consumer/log/log-client.ts'
import { positionId, type MissingIds } from '../../consumer/log/position-id.ts'
import type { Delivery } from '../../core/delivery.ts'
import { HoldfastError } from '../../core/errors.ts'
import {
  asHeaderValue,
  bytesOfKey,
  emptyHeaders,
  firstHeader,
  keyFromBytes,
  timeFrom,
  wireHeaders,
  wireNames,
  withHeaders,
  type Bytes,
  type Headers,
  type HeaderValue,
  type Message,
} from '../../core/message.ts'
import type { Outgoing } from '../../core/publisher.ts'

/** One message of kafkajs, with its topic and partition. */
export interface KafkaRecord {
  readonly topic: string
  readonly partition: number
  readonly message: KafkaMessage
}

/**
 * Returns the id of a message. If the id is empty, the message's position is its id: topic, partition, offset and
 * timestamp. If the function throws, the message is nacked.
 */
export type MessageId = (record: KafkaRecord) => string

/** What a consumer knows beyond the message itself. */
export interface DeliveryContext {
  readonly pipeline: string
  readonly group: string | null
  readonly attempt: number
  readonly first?: boolean
  readonly signal: AbortSignal
  readonly draining?: AbortSignal
  readonly id?: MessageId | undefined
  readonly key?: string | null
}

/** How messages get their ids. */
export interface IdSettings {
  readonly id?: MessageId | undefined
  readonly missingIds?: Pick<MissingIds, 'seen'>
}

/** Makes deliveries of the messages of any partition. */
export function deliveryReader(ids: IdSettings): LogClient<KafkaMessage>['deliveryOf'] {
  return (message, { topic, partition }, context) => deliveryFrom({ topic, partition, message }, context, ids)
}

/** A kafkajs message as a delivery. */
export function deliveryFrom(
  record: KafkaRecord,
  context: DeliveryContext,
  ids: IdSettings = context,
): Delivery<Bytes> {
  const { topic, partition, message } = record
  const {
    pipeline,
    group,
    attempt,
    first = false,
    signal,
    draining = signal,
    key = keyFromBytes(message.key),
  } = context
  const body = message.value
  const headers = readHeaders(message.headers)
  const none = headers === noHeaders
  return {
    message: {
      id: idOf(record, headers, ids),
      type: none ? topic : (firstHeader(headers, wireNames.type) ?? topic),
      key,
      headers,
      body,
      timeMs: none ? Number(message.timestamp) : timeFrom(headers, Number(message.timestamp)),
    },
    bytes: body,
    pipeline,
    origin: { system: 'kafka', destination: topic, partition: String(partition), position: message.offset, group },
    attempt,
    first,
    signal,
    draining,
    raw: record,
  }
}

/** A message as kafkajs sends it. The record's own timestamp stays the broker's affair: retention goes by it. */
export function recordFrom({ id, type, timeMs, key, headers, body }: Message<Bytes> | Outgoing): KafkaOutgoing {
  const named = withHeaders(headers, wireHeaders({ id, type, timeMs, headers }))
  return { key: key === null ? null : bytesOfKey(key), value: bufferOf(body), headers: writeHeaders(named) }
}

function idOf(record: KafkaRecord, headers: Headers, { id: given, missingIds }: IdSettings): string {
  const id = given === undefined ? firstHeader(headers, wireNames.id) : givenId(record, given)
  if (id !== undefined) return id
  missingIds?.seen(record)
  const { offset, timestamp } = record.message
  return positionId(record, offset, timestamp)
}

/** A message under a wrong id would pass for another one, so what throws is a nack. */
function givenId(record: KafkaRecord, given: MessageId): string | undefined {
  let id: unknown
  try {
    id = given(record)
  } catch (cause) {
    const { topic, partition, message } = record
    throw new HoldfastError('bad-option', `the id function threw for ${topic}/${partition}/${message.offset}`, {
      cause,
    })
  }
  return typeof id === 'string' && id !== '' ? id : undefined
}

const noHeaders = emptyHeaders()

function readHeaders(headers: IHeaders | undefined): Headers {
  if (headers === undefined) return noHeaders
  const names = Object.keys(headers)
  if (names.length === 0) return noHeaders
  const read = emptyHeaders()
  for (const name of names) read[name] = readHeader(headers[name])
  return read
}

function readHeader(value: IHeaders[string]): HeaderValue | HeaderValue[] {
  if (isValue(value)) return asHeaderValue(value)
  if (!Array.isArray(value)) return ''
  // kafkajs takes a name that every object has, such as `constructor`, for repeated: what it found there is no header.
  const values = value.filter(isValue).map(asHeaderValue)
  const [only] = values
  return only !== undefined && values.length === 1 ? only : values
}

function isValue(value: unknown): value is HeaderValue {
  return typeof value === 'string' || value instanceof Uint8Array
}

function writeHeaders(headers: Headers): IHeaders {
  // Without a prototype: `__proto__` is a name like any other.
  const written = Object.create(null) as IHeaders
  for (const [name, value] of Object.entries(headers))
    written[name] = typeof value === 'string' || value instanceof Uint8Array ? writeValue(value) : value.map(writeValue)
  return written
}

function writeValue(value: HeaderValue): Buffer | string {
  return typeof value === 'string' ? value : bufferOf(value)
}

function bufferOf(bytes: Uint8Array): Buffer
function bufferOf(bytes: Bytes): Buffer | null
function bufferOf(bytes: Bytes): Buffer | null {
  if (bytes === null || Buffer.isBuffer(bytes)) return bytes
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
