import type { MessageToProduce } from '@platformatic/kafka'
import { bytesOfKey, wireNames, withHeaders, type Bytes, type HeaderValue } from '../../core/message.ts'
import type { Outgoing } from '../../core/publisher.ts'

/** A message as the producer sends it. The record's own timestamp is left to the client: retention goes by it. */
export function recordFrom({ id, type, timeMs, key, headers, body, destination }: Outgoing): MessageToProduce {
  const named = withHeaders(headers, {
    [wireNames.id[0]]: id,
    [wireNames.type[0]]: type,
    [wireNames.time[0]]: String(timeMs),
  })
  // A Map by Buffers: two headers of one name are two entries.
  const pairs = new Map<Buffer, Buffer>()
  for (const [name, value] of Object.entries(named))
    for (const each of isList(value) ? value : [value]) pairs.set(Buffer.from(name), bytesOf(each))
  return {
    topic: destination,
    ...(key === null ? {} : { key: bytesOfKey(key) }),
    ...(body === null ? {} : { value: bufferOf(body) }),
    headers: pairs,
  }
}

function isList(value: HeaderValue | readonly HeaderValue[]): value is readonly HeaderValue[] {
  return Array.isArray(value)
}

function bytesOf(value: HeaderValue): Buffer {
  return typeof value === 'string' ? Buffer.from(value) : bufferOf(value)
}

function bufferOf(bytes: NonNullable<Bytes>): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
