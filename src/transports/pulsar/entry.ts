import * as zlib from 'node:zlib'
import { single, type MessageId, type Metadata } from './protocol/commands.ts'
import { PulsarError } from './protocol/errors.ts'
import type { Payload } from './protocol/frames.ts'
import { decode, type Decoded } from './protocol/protobuf.ts'

/** What is acked as one: a message, a batch of them, or the chunks of a large one. */
export interface Entry {
  readonly ids: readonly MessageId[]
  /** Its messages that are not acked. */
  left: number
}

export interface EntryMessage {
  readonly meta: Metadata | Decoded<typeof single>
  readonly body: Buffer
}

const compressions = ['none', 'LZ4', 'zlib', 'zstd', 'Snappy']

/** @throws PulsarError (`Unreadable`) for what we cannot read. It must not be taken for read. */
export function messagesIn({ metadata, body, isCorrupt }: Payload): readonly EntryMessage[] {
  if (isCorrupt) throw unreadable('its checksum is wrong')
  if ((metadata.encryptionKeys?.length ?? 0) > 0) throw unreadable('it is encrypted')
  if ((metadata.chunks ?? 1) > 1) throw unreadable('it is one chunk of a larger message')
  const bytes = decompressed(metadata, body)
  return metadata.messages === undefined ? [{ meta: metadata, body: bytes }] : batch(bytes, metadata.messages)
}

function decompressed({ compression = 0, uncompressedSize = 0 }: Metadata, body: Buffer): Buffer {
  const name = compressions[compression] ?? `compression ${compression}`
  try {
    if (name === 'none') return body
    const limit = { maxOutputLength: Math.max(1, uncompressedSize) }
    if (name === 'zlib') return zlib.inflateSync(body, limit)
    if (name === 'zstd' && hasZstd()) return zlib.zstdDecompressSync(body, limit)
  } catch (cause) {
    throw unreadable(`its ${name} is broken`, cause)
  }
  if (name === 'zstd')
    throw unreadable(`it is compressed by zstd, which Node ${process.version} has not: use 22.15 or newer`)
  throw unreadable(`it is compressed by ${name}: let its producer use zlib, zstd or nothing`)
}

function hasZstd(): boolean {
  return typeof zlib.zstdDecompressSync === 'function'
}

function batch(bytes: Buffer, count: number): readonly EntryMessage[] {
  const all: EntryMessage[] = []
  let at = 0
  const take = (length: number): Buffer => {
    if (length < 0 || at + length > bytes.length) throw unreadable('its batch is cut off')
    at += length
    return bytes.subarray(at - length, at)
  }
  while (all.length < count) {
    const meta = decode(single, take(take(4).readUInt32BE(0)))
    all.push({ meta, body: take(meta.payloadSize ?? 0) })
  }
  return all
}

function unreadable(why: string, cause?: unknown): PulsarError {
  return new PulsarError('Unreadable', why, cause === undefined ? {} : { cause })
}
