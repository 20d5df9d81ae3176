import { describe, expect, it } from 'vitest'
import type { Kafka } from 'kafkajs'
import { LostOffsets, type Checked } from '../../../src/transports/kafkajs/lost-offsets.ts'

/** Brokers that say what the test wants; admin clients are counted. */
function bench(committed: number | Error, log: { low: number; high: number } = { low: 0, high: 100 }) {
  const counts = { connected: 0, disconnected: 0 }
  const reports: [string, unknown][] = []
  const asked: string[] = []
  const admin = {
    connect: async () => void counts.connected++,
    disconnect: async () => void counts.disconnected++,
    async fetchOffsets() {
      asked.push('committed')
      if (committed instanceof Error) throw committed
      return [{ topic: 't', partitions: [{ partition: 0, offset: String(committed) }] }]
    },
    async fetchTopicOffsets() {
      asked.push('log')
      return [{ partition: 0, low: String(log.low), high: String(log.high) }]
    },
  }
  const kafka = { admin: () => admin } as unknown as Pick<Kafka, 'admin'>
  const lost = new LostOffsets(kafka, 'g', (change, detail) => reports.push([change, detail]))
  const checked: number[] = []
  const place = (over: Partial<Checked> = {}): Checked => ({
    topic: 't',
    partition: 0,
    isOwned: () => true,
    begunAt: () => undefined,
    onChecked: () => checked.push(0),
    ...over,
  })
  return { lost, counts, reports, asked, place, checked }
}

describe('lost offsets', () => {
  it('leaves no client connected after calls that fail', async () => {
    const { lost, counts, place, checked } = bench(new Error('GROUP_AUTHORIZATION_FAILED'))
    for (let n = 0; n < 5; n++) lost.check([place()])
    await lost.close()
    expect(counts.connected).toBe(5)
    expect(counts.disconnected).toBe(counts.connected)
    expect(checked).toHaveLength(5)
  })

  it('tells what retention took before it was read', async () => {
    const { lost, reports, place } = bench(3, { low: 10, high: 20 })
    lost.check([place()])
    await lost.close()
    expect(reports).toEqual([['messages-lost', { topic: 't', partition: 0, from: 3, to: 10 }]])
  })

  it('is no alarm where retention passed what was fetched meanwhile', async () => {
    const { lost, reports, place } = bench(3, { low: 10, high: 20 })
    lost.check([place({ begunAt: () => 3 })])
    await lost.close()
    expect(reports).toEqual([])
  })

  it('is no alarm about a partition that went elsewhere meanwhile', async () => {
    const { lost, reports, place } = bench(30, { low: 10, high: 20 })
    lost.check([place({ isOwned: () => false })])
    await lost.close()
    expect(reports).toEqual([])
  })

  it('asks for the end of the log after the position: one that moved meanwhile is not out of range', async () => {
    const { lost, asked, place } = bench(30)
    lost.check([place()])
    await lost.close()
    expect(asked).toEqual(['committed', 'log'])
  })
})
