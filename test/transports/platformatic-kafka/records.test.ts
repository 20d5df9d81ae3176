import { describe, expect, it } from 'vitest'
import type { fetchV17 } from '@platformatic/kafka'
import { committedRecords } from '../../../src/transports/platformatic-kafka/records.ts'

type Batch = NonNullable<fetchV17.FetchResponsePartition['records']>[number]

const [plain, transactional, control, logAppend] = [0, 16, 16 | 32, 8]

/** A batch of `count` records, or of one marker. */
function batch(
  firstOffset: number,
  count: number,
  attributes = plain,
  producer = -1,
  marker?: 'abort' | 'commit',
): Batch {
  const key = Buffer.from([0, 0, 0, marker === 'commit' ? 1 : 0])
  return {
    firstOffset: BigInt(firstOffset),
    length: 0,
    partitionLeaderEpoch: 0,
    magic: 2,
    crc: 0,
    attributes,
    lastOffsetDelta: count - 1,
    firstTimestamp: 1000n,
    maxTimestamp: 5000n,
    producerId: BigInt(producer),
    producerEpoch: 0,
    firstSequence: 0,
    records: Array.from({ length: count }, (_, offsetDelta) => ({
      length: 0,
      attributes: 0,
      timestampDelta: BigInt(offsetDelta),
      offsetDelta,
      key: marker === undefined ? null : key,
      value: Buffer.from('x'),
      headers: [],
    })),
  }
}

const aborted = (...pairs: readonly (readonly [producer: number, from: number])[]) =>
  pairs.map(([producer, from]) => ({ producerId: BigInt(producer), firstOffset: BigInt(from) }))

const offsets = (...args: Parameters<typeof committedRecords>) =>
  committedRecords(...args)?.messages.map(({ offset }) => offset)

describe('the committed records of a fetch', () => {
  it('leaves out what lies before the offset that was asked for', () => {
    expect(offsets({ records: [batch(0, 5)], abortedTransactions: null }, 3)).toEqual([3, 4])
  })

  it('PK-6: knows two aborted transactions of one producer apart', () => {
    const records = [
      batch(0, 2, transactional, 7),
      batch(2, 1, control, 7, 'abort'),
      batch(3, 2, transactional, 7),
      batch(5, 1, control, 7, 'abort'),
      batch(6, 1, transactional, 7),
    ]
    expect(offsets({ records, abortedTransactions: aborted([7, 3], [7, 0]) }, 0)).toEqual([6])
  })

  it('PK-7: hides an aborted transaction whose marker is not in the same fetch', () => {
    const records = [batch(0, 5, transactional, 7)]
    expect(committedRecords({ records, abortedTransactions: aborted([7, 0]) }, 0)).toMatchObject({
      messages: [],
      first: 0,
      last: 4,
    })
  })

  it('keeps what other producers committed in between', () => {
    const records = [
      batch(0, 1, transactional, 7),
      batch(1, 1, transactional, 8),
      batch(2, 1, plain),
      batch(3, 1, control, 7, 'abort'),
      batch(4, 1, control, 8, 'commit'),
    ]
    expect(offsets({ records, abortedTransactions: aborted([7, 0]) }, 0)).toEqual([1, 2])
  })

  it('K-14: tells the last offset of a piece that holds nothing but markers', () => {
    const records = [batch(8, 1, control, 7, 'commit')]
    expect(committedRecords({ records, abortedTransactions: [] }, 8)).toEqual({ messages: [], first: 8, last: 8 })
  })

  it('gives nothing for an answer that ends before what was asked for', () => {
    expect(committedRecords({ records: [batch(0, 3)], abortedTransactions: null }, 3)).toBeUndefined()
    expect(committedRecords({ records: [], abortedTransactions: null }, 3)).toBeUndefined()
  })

  it('takes the time of the broker where the topic says so', () => {
    const times = (attributes: number) =>
      committedRecords({ records: [batch(0, 2, attributes)], abortedTransactions: null }, 0)?.messages.map(
        ({ timestamp }) => timestamp,
      )
    expect(times(plain)).toEqual([1000, 1001])
    expect(times(logAppend)).toEqual([5000, 5000])
  })
})
