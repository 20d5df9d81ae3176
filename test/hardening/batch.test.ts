import { describe, expect, it } from 'vitest'
import { deadLetter } from '../../src/dead-letter/dead-letter.ts'
import { PermanentError } from '../../src/core/errors.ts'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import type { Outgoing } from '../../src/core/publisher.ts'
import { retry } from '../../src/retry/retry.ts'
import { timeout } from '../../src/retry/timeout.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { watchUnhandled } from '../support/watch.ts'

const message = (id: string, key: string | null = null) => ({ message: { id, key, body: null } })

describe('handleBatch(): which messages failed', () => {
  it('knows a failed message again in a copy of its delivery', async () => {
    const step = pipeline('orders').handleBatch({ maxSize: 2 }, async (deliveries) => {
      const parsed = deliveries.map((delivery) => ({ ...delivery, cents: 5 }))
      return parsed
        .filter(({ message: { id } }) => id === 'bad')
        .map((delivery) => ({ delivery, error: new Error('no') }))
    })
    const [good, bad] = await Promise.allSettled(['good', 'bad'].map((id) => step.dispatch(message(id))))
    expect(good).toEqual({ status: 'fulfilled', value: 'handled' })
    expect(bad).toMatchObject({ status: 'rejected', reason: { message: 'no' } })
  })

  it('acks none where a failure is of no message of the batch: it could be any', async () => {
    const step = pipeline('orders').handleBatch({ maxSize: 2 }, async ([first]) =>
      first === undefined ? [] : [{ delivery: { ...first, message: { ...first.message } }, error: new Error('no') }],
    )
    const both = await Promise.allSettled(['m1', 'm2'].map((id) => step.dispatch(message(id))))
    for (const each of both)
      expect(each).toMatchObject({ status: 'rejected', reason: { code: 'bad-option', message: /failures must be/ } })
  })

  it('a failure may be anything that was thrown, undefined too', async () => {
    const step = pipeline('orders').handleBatch({ maxSize: 1 }, async (deliveries) =>
      deliveries.map((delivery) => ({ delivery, error: undefined })),
    )
    await expect(step.dispatch(message('m1'))).rejects.toBeUndefined()
  })

  it('a handler that throws before it returns a promise fails all of them', async () => {
    const step = pipeline('orders').handleBatch({ maxSize: 2 }, () => {
      throw new Error('at once')
    })
    const both = await Promise.allSettled(['m1', 'm2'].map((id) => step.dispatch(message(id))))
    expect(both.map(({ status }) => status)).toEqual(['rejected', 'rejected'])
  })
})

describe('handleBatch() inside idempotency() and retry()', () => {
  function orders(fails: (id: string, run: number) => unknown) {
    const clock = fakeClock()
    const letters: Outgoing[] = []
    const runs = new Map<string, number>()
    const batches: string[][] = []
    const step = pipeline('orders')
      .use(deadLetter({ to: { publish: async (messages) => void letters.push(...messages) }, clock }))
      .use(idempotency({ store: memoryIdempotencyStore({ clock }), clock }))
      .use(retry({ maxAttempts: 3, clock, backoff: { jitter: 'none' } }))
      .use(timeout({ afterMs: 10_000, clock }))
      .handleBatch({ maxSize: 4, maxWaitMs: 1 }, async (deliveries) => {
        batches.push(deliveries.map(({ message: { id } }) => id))
        return deliveries.flatMap((delivery) => {
          const { id } = delivery.message
          const run = (runs.get(id) ?? 0) + 1
          runs.set(id, run)
          const error = fails(id, run)
          return error === undefined ? [] : [{ delivery, error }]
        })
      })
    /** Batches wait in real time, retries by the clock. */
    async function all(ids: readonly string[]) {
      let over = false
      const ends = Promise.all(
        ids.map((id) =>
          step.dispatch(message(id)).catch((error: unknown) => (error instanceof Error ? error.message : 'nack')),
        ),
      ).finally(() => (over = true))
      while (!over) {
        await clock.advance(1000)
        await new Promise((resolve) => setTimeout(resolve, 2))
      }
      return ends
    }
    return { all, letters, runs, batches }
  }

  it('each message has its own claim, attempts and outcome', async () => {
    const { all, letters, runs } = orders((id, run) => {
      if (id === 'poison') return new PermanentError('never')
      if (id === 'hiccup' && run < 3) return new Error('not yet')
      if (id === 'broken') return new Error('always')
      return undefined
    })
    expect(await all(['fine', 'poison', 'hiccup', 'broken'])).toEqual([
      'handled',
      'dead-lettered',
      'handled',
      'dead-lettered',
    ])
    expect(Object.fromEntries(runs)).toEqual({ fine: 1, poison: 1, hiccup: 3, broken: 3 })
    expect(letters.map(({ id }) => id).toSorted()).toEqual(['broken', 'poison'])
    expect(await all(['fine', 'poison', 'hiccup', 'broken'])).toEqual([
      'duplicate',
      'dead-lettered',
      'duplicate',
      'dead-lettered',
    ])
    expect(runs.get('fine')).toBe(1)
  })

  it('a duplicate never takes a place in a batch beside its original', async () => {
    const { all, batches } = orders(() => undefined)
    const ends = await all(['a', 'a', 'b', 'a'])
    expect(ends.filter((end) => end === 'handled')).toHaveLength(2)
    expect(batches.flat().toSorted()).toEqual(['a', 'b'])
  })
})

describe('handleBatch() under odd traffic', () => {
  it('keeps the order of a key, a batch at a time, and loses nobody', async () => {
    const unhandled = watchUnhandled()
    const seen: string[] = []
    const step = pipeline('orders').handleBatch({ maxSize: 3, maxWaitMs: 0 }, async (deliveries) => {
      const keys = deliveries.map((delivery) => delivery.message.key).filter((key) => key !== null)
      expect(new Set(keys).size).toBe(keys.length)
      seen.push(...deliveries.map((delivery) => delivery.message.id))
    })
    const ids = Array.from({ length: 60 }, (_, n): [string, string | null] => [
      `m${n}`,
      n % 4 === 0 ? null : `k${n % 3}`,
    ])
    const ends = await Promise.all(ids.map(([id, key]) => step.dispatch(message(id, key))))
    expect(new Set(ends)).toEqual(new Set(['handled']))
    for (const key of ['k0', 'k1', 'k2']) {
      const sent = ids.filter((each) => each[1] === key).map(([id]) => id)
      expect(seen.filter((id) => sent.includes(id))).toEqual(sent)
    }
    expect(unhandled).toEqual([])
  })
})
