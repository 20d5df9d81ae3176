import { expect, it } from 'vitest'
import { chaos, judged } from '../../scripts/chaos/outbox/run.ts'
import { describeWith } from '../support/services.ts'
import { isFull } from '../support/skipped.ts'

// The short form of `npm run chaos:outbox`: this process is the broker, and the server is not restarted.
const short = { brokers: null, killEveryMs: 1500, restarts: false, say: () => {} }
const messages = isFull ? 3000 : 1500
/** What is planted is found in one of three messages, or in one of thirty. */
const enough = isFull ? 3000 : 800

describeWith(['postgres'], 'the ledger of the outbox', () => {
  it(
    'loses nothing and keeps every key in order while relays are killed and paused',
    { timeout: 180_000 },
    async () => {
      const { counts, ...ledger } = await chaos({ ...short, messages, leastFaults: 2, seed: 7 })
      expect(ledger).toMatchObject({ lost: 0, phantom: 0, outOfOrder: 0 })
      expect(ledger.committed).toBeGreaterThanOrEqual(messages)
      expect((counts['kills'] ?? 0) + (counts['pauses'] ?? 0)).toBeGreaterThanOrEqual(2)
    },
  )

  it('finds what a naive cursor loses', { timeout: 180_000 }, async () => {
    expect((await chaos({ ...short, messages: enough, seed: 8, planted: 'naive-cursor' })).lost).toBeGreaterThan(0)
  })

  it('finds what order by transaction reorders', { timeout: 180_000 }, async () => {
    expect((await chaos({ ...short, messages: enough, seed: 9, planted: 'order-by-xid' })).outOfOrder).toBeGreaterThan(
      0,
    )
  })

  it('counts by first deliveries: repeats are duplicates, and stale where a later one came between', () => {
    const truth = new Set(['1:1', '1:2', '1:3', '2:1'])
    expect(judged(truth, ['1:1', '1:2', '1:1', '2:1', '1:3', '1:3'])).toEqual({
      ...{ committed: 4, lost: 0, phantom: 0, outOfOrder: 0, duplicates: 2, stale: 1 },
    })
    expect(judged(truth, ['1:2', '1:1', '9:9'])).toMatchObject({ lost: 2, phantom: 1, outOfOrder: 1 })
  })
})
