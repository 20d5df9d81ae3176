import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { memorySequenceStore } from '../../src/ordering/memory-sequence-store.ts'
import { sequence } from '../../src/ordering/sequence.ts'
import type { SequenceStore } from '../../src/ordering/store.ts'
import { retry } from '../../src/retry/retry.ts'
import { pipeline } from '../../src/pipeline.ts'
import { headersFrom } from '../../src/message.ts'
import { postgresSequenceStore } from '../../src/stores/postgres/outbox-marks.ts'
import { transaction } from '../../src/stores/postgres/transaction.ts'
import { describeOnBoth, outboxDatabase, type OutboxDatabase } from '../outbox/support.ts'

const message = (
  id: number | null,
  { key = 'k', timeline = 1, source = 's' }: Partial<Record<'key' | 'source', string>> & { timeline?: number } = {},
) => ({
  id: `${source}-${timeline}-${id}`,
  key,
  body: null,
  headers: headersFrom(id === null ? [] : [['outbox-id', `${source}/${timeline}/${id}`]]),
})

function common(title: string, store: () => SequenceStore): void {
  describe(title, () => {
    it('handles what is newer, and acks what is older or the same', async () => {
      const handled: string[] = []
      const orders = pipeline('a')
        .use(sequence({ store: store() }))
        .handle(({ message: { id } }) => void handled.push(id))
      const outcome = (id: number | null, more = {}) => orders.dispatch({ message: message(id, more) })
      expect(await outcome(5)).toBe('handled')
      expect(await outcome(4)).toBe('stale')
      expect(await outcome(5)).toBe('duplicate')
      expect(await outcome(6)).toBe('handled')
      // Another key, another outbox, a message of no outbox: nothing to compare with.
      expect(await outcome(1, { key: 'other' })).toBe('handled')
      expect(await outcome(1, { source: 'another' })).toBe('handled')
      expect(await outcome(null)).toBe('handled')
      // After a failover ids may be drawn again: the timeline says which came later.
      expect(await outcome(2, { timeline: 2 })).toBe('handled')
      expect(await outcome(7, { timeline: 1 })).toBe('stale')
      expect(handled).toHaveLength(6)
    })

    it('keeps the marks of two pipelines and of two destinations apart', async () => {
      const shared = store()
      const make = (name: string) =>
        pipeline(name)
          .use(sequence({ store: shared }))
          .handle(() => {})
      expect(await make('a').dispatch({ message: message(5) })).toBe('handled')
      expect(await make('b').dispatch({ message: message(4) })).toBe('handled')
      expect(await make('a').dispatch({ message: message(4), origin: { destination: 'elsewhere' } })).toBe('handled')
    })

    it('does not move the mark for a handler that failed', async () => {
      let fail = true
      const orders = pipeline('a')
        .use(sequence({ store: store() }))
        .handle(() => (fail ? Promise.reject(new Error('later')) : undefined))
      await expect(orders.dispatch({ message: message(5) })).rejects.toThrow('later')
      fail = false
      expect(await orders.dispatch({ message: message(4) })).toBe('handled')
      expect(await orders.dispatch({ message: message(5) })).toBe('handled')
    })
  })
}

common('sequence(), in memory', memorySequenceStore)

describe('sequence()', () => {
  it('stands inside retry, and says why', () => {
    const wrong = () =>
      pipeline('a')
        .use(sequence({ store: memorySequenceStore() }))
        .use(retry())
        .handle(() => {})
    expect(wrong).toThrow('a: retry must stand outside sequence: a failed attempt must not move the mark')
  })
})

describeOnBoth('sequence()', (url) => {
  let db: OutboxDatabase
  beforeEach(async () => {
    db = await outboxDatabase(url())
  })
  afterEach(async () => {
    await db.dispose()
  })
  const store = () => postgresSequenceStore(db.pool, { schema: db.schema })

  common('by itself', store)

  it('moves the mark in the transaction of the handler, and lets no two messages of a key run at once', async () => {
    await db.pool.query('create table effect (id text)')
    let fail = false
    let running = 0
    let most = 0
    const orders = pipeline('a')
      .use(transaction(db.pool))
      .use(sequence({ store: store() }))
      .handle(async ({ message: { id }, tx }) => {
        most = Math.max(most, ++running)
        await tx.query('insert into effect values ($1)', [id])
        running--
        if (fail) throw new Error('later')
      })
    fail = true
    await expect(orders.dispatch({ message: message(9) })).rejects.toThrow('later')
    fail = false
    const outcomes = await Promise.all([1, 2, 3, 4, 5, 6, 7, 8].map((id) => orders.dispatch({ message: message(id) })))
    expect(outcomes).toContain('handled')
    expect(most).toBe(1)
    const { rows } = await db.pool.query('select id from effect')
    expect(rows).toHaveLength(outcomes.filter((outcome) => outcome === 'handled').length)
    expect(await orders.dispatch({ message: message(8) })).not.toBe('handled')
    expect(await store().clean(60_000)).toBe(0)
  })
})
