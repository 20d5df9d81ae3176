import { keepAtMost } from '../../core/bounded.ts'
import type { MessageId } from './protocol/commands.ts'
import { PulsarError } from './protocol/errors.ts'
import type { Payload } from './protocol/frames.ts'

/** A larger one is not put together: all of it is in memory at once. */
const mostBytes = 256 * 1024 * 1024
const mostOpen = 100
const mostDone = 1_000

/** The entries that are one message, all of them acked with it. */
export interface Whole {
  readonly payload: Payload
  readonly ids: readonly MessageId[]
}

interface Pieces {
  readonly ids: MessageId[]
  readonly bodies: Buffer[]
  bytes: number
}

export function isChunk({ metadata, isCorrupt }: Payload): boolean {
  return !isCorrupt && (metadata.chunks ?? 1) > 1
}

/** Puts the chunks of large messages together, as they come in one subscribe. */
export class Chunks {
  readonly #open = new Map<string, Pieces>()
  /** Of the last ones that were put together: a producer that lost a receipt sends their last chunks again. */
  readonly #done = new Set<string>()

  /**
   * `more`: chunks are missing. `again`: its message was put together already.
   * @throws PulsarError (`Unreadable`) for what can not be put together. It must not be taken for read.
   */
  take(id: MessageId, payload: Payload): Whole | 'more' | 'again' {
    const { uuid = '', chunks = 0, chunkId = 0 } = payload.metadata
    if (this.#done.has(uuid)) return 'again'
    const pieces = this.#piecesOf(uuid)
    if (chunkId > pieces.bodies.length) throw unreadable(`chunk ${pieces.bodies.length} of its message did not come`)
    pieces.ids.push(id)
    // Sent again after a lost connection.
    if (chunkId < pieces.bodies.length) return 'more'
    pieces.bodies.push(payload.body)
    pieces.bytes += payload.body.length
    if (pieces.bytes > mostBytes) throw unreadable(`its message is larger than ${mostBytes} bytes`)
    if (pieces.bodies.length < chunks) return 'more'
    this.#open.delete(uuid)
    this.#done.add(uuid)
    keepAtMost(mostDone, this.#done)
    const whole = { ...payload, metadata: { ...payload.metadata, chunks: 1 }, body: Buffer.concat(pieces.bodies) }
    return { payload: whole, ids: pieces.ids }
  }

  #piecesOf(uuid: string): Pieces {
    const known = this.#open.get(uuid)
    if (known !== undefined) return known
    const pieces: Pieces = { ids: [], bodies: [], bytes: 0 }
    this.#open.set(uuid, pieces)
    // One that its producer gave up never comes to its end. Its entries stay unacked: nobody knows that for sure.
    keepAtMost(mostOpen, this.#open)
    return pieces
  }
}

function unreadable(why: string): PulsarError {
  return new PulsarError('Unreadable', `it is one chunk of a larger message, and ${why}`)
}
