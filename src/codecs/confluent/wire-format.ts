import { PermanentError } from '../../core/errors.ts'

/** A body in Confluent's wire format, taken apart. */
export interface Framed {
  readonly id: number
  readonly data: Uint8Array
}

/** A zero byte, the schema's id as four bytes with the highest first, then the data. */
export function unframed(bytes: Uint8Array | null): Framed {
  if (bytes === null) throw new PermanentError('a tombstone has no schema id')
  if (bytes.byteLength < headBytes)
    throw new PermanentError(`a body of ${bytes.byteLength} bytes is too short for a schema id`)
  if (bytes[0] !== 0)
    throw new PermanentError(`the body does not begin with a schema id: its first byte is ${bytes[0]}, not 0`)
  const view = new DataView(bytes.buffer, bytes.byteOffset, headBytes)
  return { id: view.getUint32(1), data: bytes.subarray(headBytes) }
}

export function framed({ id, data }: Framed): Uint8Array {
  const bytes = new Uint8Array(headBytes + data.byteLength)
  new DataView(bytes.buffer).setUint32(1, id)
  bytes.set(data, headBytes)
  return bytes
}

const headBytes = 5

/**
 * Protobuf puts the place of the message type in its schema before the data: a count, then so many indexes, as zigzag
 * varints. A single zero stands for the first type.
 */
export function messageIndexes(data: Uint8Array): { readonly indexes: readonly number[]; readonly data: Uint8Array } {
  let at = 0
  function varint(): number {
    let value = 0
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = data[at++]
      if (byte === undefined) break
      value |= (byte & 0x7f) << shift
      if (byte < 0x80) return (value >>> 1) ^ -(value & 1)
    }
    throw new PermanentError('the message indexes before the data cannot be read')
  }
  const count = varint()
  if (count < 0 || count > deepest) throw new PermanentError(`the data has ${count} message indexes before it`)
  const indexes = count === 0 ? [0] : Array.from({ length: count }, varint)
  return { indexes, data: data.subarray(at) }
}

/** No schema nests its types deeper. */
const deepest = 100
