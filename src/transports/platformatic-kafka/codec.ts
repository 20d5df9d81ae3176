import type { MessageToProduce } from '@platformatic/kafka'
import type { DeliveryContext } from '../../consumer/consumer.ts'
import { positionId, type MissingIds } from '../../consumer/log/position-id.ts'
import type { Delivery } from '../../core/delivery.ts'
import {
  asHeaderValue,
  bytesOfKey,
  emptyHeaders,
  firstHeader,
  timeFrom,
  wireHeaders,
  wireNames,
  withHeaders,
  isRepeated,
  type Bytes,
  type Headers,
  type HeaderValue,
} from '../../core/message.ts'
import type { Outgoing } from '../../core/publisher.ts'
import type { Place } from './coordinator.ts'
import type { KafkaRecord } from './records.ts'

/** A message as the protocol has it, with its place. */
export type PlatformaticKafkaRecord = KafkaRecord & Place

/** Returns the id of a message. */
export type MessageId = (record: PlatformaticKafkaRecord) => string

/** A fetched record as a delivery. */
export function deliveryFrom(
  record: KafkaRecord,
  { topic, partition }: Place,
  { pipeline, group, key, attempt, first = false, signal, draining }: DeliveryContext,
  ids: IdSettings,
): Delivery<Bytes> {
  const { headers: pairs, value: body, timestamp, offset } = record
  const headers = pairs.length === 0 ? noHeaders : readHeaders(pairs)
  const raw = { ...record, topic, partition }
  return {
    message: {
      id: idOf(raw, headers, ids),
      type: firstHeader(headers, wireNames.type) ?? topic,
      key,
      headers,
      body,
      timeMs: timeFrom(headers, timestamp),
    },
    bytes: body,
    pipeline,
    origin: { system: 'kafka', destination: topic, partition: String(partition), position: String(offset), group },
    attempt,
    first,
    signal,
    draining,
    raw,
  }
}

/** How messages get their ids. */
export interface IdSettings {
  readonly id: MessageId | undefined
  readonly missingIds?: Pick<MissingIds, 'seen'>
}

/** Where the producer, or the function that is given, names none, the place stands for it. */
function idOf(record: PlatformaticKafkaRecord, headers: Headers, { id: given, missingIds }: IdSettings): string {
  const id = given === undefined ? firstHeader(headers, wireNames.id) : given(record)
  if (id !== undefined && id !== '') return id
  missingIds?.seen(record)
  return positionId(record, record.offset, record.timestamp)
}

const noHeaders = emptyHeaders()

function readHeaders(pairs: KafkaRecord['headers']): Headers {
  const headers = emptyHeaders()
  for (const [nameBytes, value] of pairs) {
    const name = nameBytes === null ? '' : nameBytes.toString()
    const read = value === null ? '' : asHeaderValue(value)
    const before = headers[name]
    if (before === undefined) headers[name] = read
    else headers[name] = isRepeated(before) ? [...before, read] : [before, read]
  }
  return headers
}

/** A message as the producer sends it. The record's own timestamp is left to the client: retention goes by it. */
export function recordFrom({ id, type, timeMs, key, headers, body, destination }: Outgoing): MessageToProduce {
  const named = withHeaders(headers, wireHeaders({ id, type, timeMs, headers }))
  // A Map by Buffers: two headers of one name are two entries.
  const pairs = new Map<Buffer, Buffer>()
  for (const [name, value] of Object.entries(named))
    for (const each of isRepeated(value) ? value : [value]) pairs.set(Buffer.from(name), bytesOf(each))
  return {
    topic: destination,
    ...(key === null ? {} : { key: bytesOfKey(key) }),
    ...(body === null ? {} : { value: bufferOf(body) }),
    headers: pairs,
  }
}

function bytesOf(value: HeaderValue): Buffer {
  return typeof value === 'string' ? Buffer.from(value) : bufferOf(value)
}

function bufferOf(bytes: NonNullable<Bytes>): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
