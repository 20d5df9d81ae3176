import {
  commands,
  metadata as metadataSchema,
  type Arrived,
  type Command,
  type CommandName,
  type Metadata,
} from './commands.ts'
import { crc32c } from './crc32c.ts'
import { ProtocolError, strangerIn } from './errors.ts'
import { decode, encode, Reader, Writer, type Decoded, type Schema } from './protobuf.ts'

// `BaseCommand` has the type in its first field and the command in the field of the same number.
const typeField = 1
const checksummed = 0x0e01
const brokerMetadata = 0x0e02
/** Frames have a message and a little more. A broker that is told to may take larger ones. */
export const largestFrame: number = 5 * 1024 * 1024 + 10 * 1024

/** Whatever a broker says, no more than this is gathered for one frame. */
const mostBuffered = 256 * 1024 * 1024

/** What came with a message. */
export interface Payload {
  readonly metadata: Metadata
  readonly body: Buffer
  /** Its checksum is wrong. */
  readonly isCorrupt: boolean
}

/** A frame; `undefined` for a command that we do not know. */
export type Frame = (Arrived & { readonly payload?: Payload }) | undefined

const byNumber = new Map<number, CommandName>(
  Object.entries(commands).map(([name, [number]]) => [number, name as CommandName]),
)

function commandBytes<N extends CommandName>(name: N, value: Command<N>): Buffer {
  const [number, schema]: readonly [number, Schema] = commands[name]
  const writer = new Writer()
  writer.varint(typeField * 8)
  writer.varint(number)
  writer.varint(number * 8 + 2)
  writer.bytes(encode(schema, value as Decoded<Schema>))
  return writer.done()
}

export function commandFrame<N extends CommandName>(name: N, value: Command<N>): Buffer {
  const command = commandBytes(name, value)
  const frame = Buffer.allocUnsafe(8 + command.length)
  frame.writeUInt32BE(4 + command.length, 0)
  frame.writeUInt32BE(command.length, 4)
  command.copy(frame, 8)
  return frame
}

export function sendFrame(send: Command<'send'>, metadata: Metadata, body: Uint8Array): Buffer {
  const command = commandBytes('send', send)
  const meta = encode(metadataSchema, metadata)
  const size = 4 + command.length + 2 + 4 + 4 + meta.length + body.length
  const frame = Buffer.allocUnsafe(4 + size)
  let at = frame.writeUInt32BE(size, 0)
  at = frame.writeUInt32BE(command.length, at)
  at += command.copy(frame, at)
  at = frame.writeUInt16BE(checksummed, at)
  const checksumAt = at
  at = frame.writeUInt32BE(meta.length, at + 4)
  at += meta.copy(frame, at)
  frame.set(body, at)
  frame.writeUInt32BE(crc32c(frame.subarray(checksumAt + 4)), checksumAt)
  return frame
}

/** @throws ProtocolError for bytes that are no frame. */
export function parseFrame(bytes: Buffer): Frame {
  const size = uint32(bytes, 0)
  const command = slice(bytes, 4, size)
  const arrived = commandIn(command)
  const rest = bytes.subarray(4 + size)
  if (arrived?.name !== 'message') return arrived
  return { ...arrived, payload: payloadIn(rest) }
}

function commandIn(bytes: Buffer): Arrived | undefined {
  const reader = new Reader(bytes)
  let type: number | undefined
  const parts = new Map<number, Buffer>()
  while (!reader.isAtEnd) {
    const tag = reader.varint()
    const wire = tag % 8
    const number = (tag - wire) / 8
    if (number === typeField && wire === 0) type = reader.varint()
    else if (wire === 2) parts.set(number, reader.bytes())
    else reader.skip(wire)
  }
  if (type === undefined) throw new ProtocolError('a command has no type')
  const name = byNumber.get(type)
  if (name === undefined) return undefined
  const part = parts.get(type)
  if (part === undefined) throw new ProtocolError(`the command ${name} has no content`)
  return { name, value: decode(commands[name][1] as Schema, part) }
}

function payloadIn(bytes: Buffer): Payload {
  let rest = bytes
  if (rest.length >= 2 && rest.readUInt16BE(0) === brokerMetadata) {
    const length = uint32(rest, 2)
    slice(rest, 6, length)
    rest = rest.subarray(6 + length)
  }
  let isCorrupt = false
  if (rest.length >= 2 && rest.readUInt16BE(0) === checksummed) {
    const checksum = uint32(rest, 2)
    rest = rest.subarray(6)
    isCorrupt = crc32c(rest) !== checksum
  }
  // What a wrong checksum covers is not to be read.
  if (isCorrupt) return { metadata: {}, body: rest, isCorrupt }
  const length = uint32(rest, 0)
  return { metadata: decode(metadataSchema, slice(rest, 4, length)), body: rest.subarray(4 + length), isCorrupt }
}

/** Cuts a stream of bytes into frames. */
export class FrameCutter {
  #chunks: Buffer[] = []
  #size = 0
  #largest = largestFrame

  /** As the broker says that it takes messages. */
  allow(maxMessageSize: number): void {
    this.#largest = Math.max(largestFrame, Math.min(maxMessageSize, mostBuffered) + 64 * 1024)
  }

  /** @throws ProtocolError for a length that no frame has. */
  *frames(chunk: Buffer): Generator<Buffer> {
    this.#chunks.push(chunk)
    this.#size += chunk.length
    while (this.#size >= 4) {
      const length = this.#join(4).readUInt32BE(0)
      if (length < 4 || length > this.#largest)
        throw new ProtocolError(`a frame of ${length} bytes${strangerIn(length)}`)
      if (this.#size < 4 + length) return
      const first = this.#join(4 + length)
      const rest = first.subarray(4 + length)
      this.#chunks = rest.length === 0 ? this.#chunks.slice(1) : [rest, ...this.#chunks.slice(1)]
      this.#size -= 4 + length
      yield first.subarray(4, 4 + length)
    }
  }

  /** The first bytes in one piece. Joined once they are all there, not with every piece that arrives. */
  #join(length: number): Buffer {
    const [first] = this.#chunks
    if (first !== undefined && first.length >= length) return first
    const all = Buffer.concat(this.#chunks, this.#size)
    this.#chunks = [all]
    return all
  }
}

function uint32(bytes: Buffer, at: number): number {
  if (bytes.length < at + 4) throw new ProtocolError('a frame ends in the middle of a length')
  return bytes.readUInt32BE(at)
}

function slice(bytes: Buffer, at: number, length: number): Buffer {
  if (bytes.length < at + length) throw new ProtocolError('a part is longer than its frame')
  return bytes.subarray(at, at + length)
}
