import type { fetchV17 } from '@platformatic/kafka'

type FetchedPartition = fetchV17.FetchResponsePartition
type FetchedBatch = NonNullable<FetchedPartition['records']>[number]

/** One message as the protocol has it. */
export interface KafkaRecord {
  readonly offset: number
  readonly key: Buffer | null
  readonly value: Buffer | null
  /** In the record's own order; one name may come several times. */
  readonly headers: readonly (readonly [Buffer | null, Buffer | null])[]
  /** Ms since 1970. */
  readonly timestamp: number
}

/** A piece of one partition's log. */
export interface Piece {
  readonly messages: readonly KafkaRecord[]
  /** The first and the last offset of the piece. Both may belong to markers or aborted records. */
  readonly first: number
  readonly last: number
}

const isTransactional = 1 << 4
const isControl = 1 << 5
const isLogAppendTime = 1 << 3
const abortMarker = 0

/**
 * The committed messages of a fetched partition from an offset on. Records of aborted transactions and markers are left
 * out. A producer's transaction is aborted from the offset that the broker names up to that producer's abort marker.
 */
export function committedRecords(
  { records, abortedTransactions }: Pick<FetchedPartition, 'records' | 'abortedTransactions'>,
  from: number,
): Piece | undefined {
  const [begin] = records ?? []
  if (begin === undefined) return undefined
  const aborted = new AbortedProducers(abortedTransactions ?? [])
  const messages: KafkaRecord[] = []
  let last = from - 1
  for (const batch of records ?? []) {
    const base = Number(batch.firstOffset)
    last = base + batch.lastOffsetDelta
    if (aborted.hides(batch, last)) continue
    const timestamp = timestampsOf(batch)
    for (const { offsetDelta, key, value, headers, timestampDelta } of batch.records) {
      const offset = base + offsetDelta
      if (offset >= from) messages.push({ offset, key, value, headers, timestamp: timestamp(timestampDelta) })
    }
  }
  return last < from ? undefined : { messages, first: Math.max(Number(begin.firstOffset), from), last }
}

/** Which producers have an aborted transaction open at the batch that is being read. */
class AbortedProducers {
  readonly #waiting: { readonly producerId: bigint; readonly firstOffset: bigint }[]
  readonly #open = new Set<bigint>()

  constructor(transactions: readonly { readonly producerId: bigint; readonly firstOffset: bigint }[]) {
    this.#waiting = [...transactions].sort((one, other) => Number(one.firstOffset - other.firstOffset))
  }

  /** Takes the batches in order. Markers are hidden too. */
  hides({ attributes, producerId, records }: FetchedBatch, last: number): boolean {
    for (let next = this.#waiting[0]; next !== undefined && next.firstOffset <= last; next = this.#waiting[0]) {
      this.#open.add(next.producerId)
      this.#waiting.shift()
    }
    if ((attributes & isControl) !== 0) {
      // A marker's key is its version and its type, two bytes each.
      if (records[0]?.key?.readInt16BE(2) === abortMarker) this.#open.delete(producerId)
      return true
    }
    return (attributes & isTransactional) !== 0 && this.#open.has(producerId)
  }
}

function timestampsOf({ attributes, firstTimestamp, maxTimestamp }: FetchedBatch): (delta: bigint) => number {
  if ((attributes & isLogAppendTime) !== 0) {
    const appended = Number(maxTimestamp)
    return () => appended
  }
  const first = Number(firstTimestamp)
  return (delta) => first + Number(delta)
}
