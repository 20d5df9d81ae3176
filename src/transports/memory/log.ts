import { HoldfastError } from '../../core/errors.ts'
import type { Outgoing } from '../../core/publisher.ts'

/** One partition: an append-only list with a bound. */
export interface PartitionLog {
  readonly topic: string
  readonly partition: number
  /** The offset of the next message. */
  readonly end: number
  /** The first offset that is still kept. */
  readonly start: number
  append(message: Outgoing, visibleAtMs: number): void
  /** `undefined` past the end, and before its time has come. */
  read(offset: number, nowMs: number): Outgoing | undefined
  /** Who waits for more; called at every message that becomes visible. */
  readonly readers: Set<() => void>
}

interface Stored {
  readonly message: Outgoing
  readonly visibleAtMs: number
}

/** `consumed` gives the offset before which nobody needs anything any more. */
export function partitionLog(
  topic: string,
  partition: number,
  maxMessages: number,
  consumed: () => number,
): PartitionLog {
  let kept: Stored[] = []
  let start = 0
  const readers = new Set<() => void>()

  function makeRoom(): void {
    const gone = Math.min(Math.max(consumed() - start, 0), kept.length)
    kept = kept.slice(gone)
    start += gone
    if (kept.length >= maxMessages)
      throw new HoldfastError(
        'unavailable',
        `memory: ${topic}/${partition} holds ${kept.length} messages that were not consumed`,
      )
  }

  return {
    topic,
    partition,
    readers,
    get start() {
      return start
    },
    get end() {
      return start + kept.length
    },
    append(message, visibleAtMs) {
      if (kept.length >= maxMessages) makeRoom()
      // Never before the one in front of it: a delay keeps the order.
      kept.push({ message, visibleAtMs: Math.max(visibleAtMs, kept.at(-1)?.visibleAtMs ?? 0) })
    },
    read(offset, nowMs) {
      const stored = kept[offset - start]
      return stored === undefined || stored.visibleAtMs > nowMs ? undefined : stored.message
    },
  }
}
