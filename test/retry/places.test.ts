import { describe, expect, it } from 'vitest'
import type { RetryLater } from '../../src/core/errors.ts'
import { isRetryLater } from '../../src/core/errors.ts'
import { subscribe } from '../../src/core/events.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import { bulkhead, type BulkheadOptions } from '../../src/retry/bulkhead.ts'
import type { Limits, PlacesRequest } from '../../src/retry/store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'

/** Grants what the test says, and notes what it was asked. */
function store(
  grant: (request: PlacesRequest) => number | Promise<number>,
): Limits & { readonly asked: PlacesRequest[] } {
  const asked: PlacesRequest[] = []
  return {
    ...{ name: 'test', asked, leaseMs: 5_000 },
    take: () => Promise.resolve({ taken: 1, inMs: 0 }),
    async hold(_, request) {
      asked.push(request)
      return grant(request)
    },
  }
}

function limited(options: Partial<BulkheadOptions>) {
  const clock = fakeClock()
  const running = new Map<string, (error?: Error) => void>()
  const signals = new Map<string, AbortSignal>()
  const stage = bulkhead({ name: 'tenants', maxConcurrent: 2, clock, ...options })
  const step = pipeline<null>('orders')
    .use(stage)
    .handle(({ message: { id }, signal }) => {
      signals.set(id, signal)
      return new Promise<void>((resolve, reject) => {
        running.set(id, (error) => {
          running.delete(id)
          if (error === undefined) resolve()
          else reject(error)
        })
      })
    })
  const said = new Map<string, unknown>()
  return {
    ...{ clock, running, signals, stage, said, step },
    /** Dispatches, and waits until it runs or was refused. */
    async deliver(id: string, key = 'a'): Promise<unknown> {
      said.delete(id)
      step.dispatch({ message: { id, key, body: null } }).then(
        (outcome) => said.set(id, outcome),
        (error: unknown) => said.set(id, error),
      )
      await clock.advance(0)
      return said.get(id)
    },
    end: async (id: string, error?: Error) => {
      running.get(id)?.(error)
      await clock.advance(0)
    },
  }
}
const byKey = { by: ({ key }: { readonly key: string | null }) => key ?? '' }

describe('bulkhead({ by })', () => {
  it('F-13: nacks what is above the limit of its group, outside of every attempt, and lets other groups go on', async () => {
    const { deliver, running, clock, end } = limited(byKey)
    await deliver('1')
    await deliver('2')
    const refused = await deliver('3')
    expect(refused).toMatchObject({ code: 'retry-later', holds: 'lane', counts: false })
    await deliver('4', 'b')
    expect([...running.keys()]).toEqual(['1', '2', '4'])
    await clock.advance(100)
    await end('1')
    expect(await deliver('3')).toBeUndefined()
    expect([...running.keys()]).toEqual(['2', '4', '3'])
  })

  it('F-15: tells each its own time: the n-th that waits comes after n of the mean duration', async () => {
    const { deliver, clock, end } = limited(byKey)
    for (let turn = 0; turn < 40; turn++) {
      await deliver('warm')
      await clock.advance(200)
      await end('warm')
    }
    await deliver('1')
    await deliver('2')
    const times: number[] = []
    for (const id of ['3', '4', '5', '6']) times.push(((await deliver(id)) as RetryLater).afterMs)
    for (const [n, ms] of times.entries()) expect(ms).toBeCloseTo(((n + 1) * 200) / 2, -1)
  })

  it('keeps a place that falls free for who was told to come back for it, and not for ever', async () => {
    const { deliver, clock, end, running } = limited({ ...byKey, maxConcurrent: 1 })
    await deliver('1')
    await deliver('2')
    await end('1')
    expect(isRetryLater(await deliver('new'))).toBe(true)
    expect(await deliver('2')).toBeUndefined()
    await end('2')
    // 'new' never comes back: it went to another process.
    await clock.advance(40_000)
    expect(isRetryLater(await deliver('late'))).toBe(true)
    await clock.advance(40_000)
    expect(await deliver('late')).toBeUndefined()
    expect([...running.keys()]).toEqual(['late'])
  })

  it('says what is above the limit: in an event, in health and in describe()', async () => {
    const { deliver, stage, step } = limited(byKey)
    const events: unknown[] = []
    const stop = subscribe('limit-reached', ({ name, group, waitMs }) =>
      events.push({ name, group, waits: waitMs > 0 }),
    )
    for (const id of ['1', '2', '3']) await deliver(id)
    stop()
    expect(events).toEqual([{ name: 'tenants', group: 'a', waits: true }])
    expect(stage.health()).toEqual({
      ...{ name: 'limit tenants', live: true, ready: true },
      details: { maxConcurrent: 2, running: 2, waiting: 1, groups: 1 },
    })
    expect(String(step.describe())).toMatch(/limit 2 at once by group, this process; the backlog of one group can/)
  })

  it('refuses what cannot work when it is built', () => {
    expect(() => bulkhead({ maxConcurrent: 2, share: store(() => 1) })).toThrow(
      'bulkhead: name must be a text that all processes use, with share, got undefined',
    )
    expect(() => bulkhead({ ...byKey, maxConcurrent: 2, maxQueued: 1 })).toThrow('bulkhead: maxQueued must be left out')
    expect(() => bulkhead({ name: 'x', maxConcurrent: 2, share: { name: 'old', take: store(() => 1).take } })).toThrow(
      'bulkhead: share must be',
    )
    const share = store(() => 1)
    bulkhead({ name: 'x', maxConcurrent: 2, share })
    expect(() => bulkhead({ name: 'x', maxConcurrent: 3, share })).toThrow('bulkhead: name must be another one than')
    expect(() =>
      pipeline('orders')
        .use(idempotency({ store: memoryIdempotencyStore() }))
        .use(bulkhead({ ...byKey, maxConcurrent: 2 }))
        .handle(() => {}),
    ).toThrow('bulkhead must not stand inside idempotency: each message that has to wait would be a claim')
  })
})

describe('bulkhead({ share })', () => {
  it('takes granted places without a round trip, and asks for more where they are not enough', async () => {
    const share = store(({ want }) => Math.min(want, 2))
    const { deliver, end, running } = limited({ share, maxConcurrent: 8 })
    await deliver('1')
    await deliver('2')
    expect(share.asked).toHaveLength(2)
    await end('1')
    await deliver('3')
    expect(share.asked).toHaveLength(2)
    expect(isRetryLater(await deliver('4'))).toBe(true)
    expect(share.asked.at(-1)).toMatchObject({ held: 2, want: 3, max: 8, leaseMs: 5_000 })
    expect([...running.keys()]).toEqual(['2', '3'])
  })

  it('F-11: starts nothing above what it told while a request is on its way', async () => {
    const answers: ((granted: number) => void)[] = []
    const share = store(() => new Promise((resolve) => answers.push(resolve)))
    const { deliver, end, running, clock } = limited({ share, maxConcurrent: 8 })
    await deliver('1')
    answers.shift()?.(4)
    await clock.advance(0)
    await deliver('2')
    // The next beat is on its way, and says that two run.
    await clock.advance(1_000)
    expect(share.asked.at(-1)).toMatchObject({ held: 2 })
    await deliver('3')
    expect([...running.keys()]).toEqual(['1', '2'])
    // One for one is no more than it told.
    await end('1')
    expect([...running.keys()]).toEqual(['2'])
    answers.shift()?.(4)
    await clock.advance(0)
    expect([...running.keys()]).toEqual(['2', '3'])
  })

  it('F-12: aborts what runs before its lease ends, and starts nothing more, while the store is away', async () => {
    let away = false
    const share = store(({ want }) => (away ? Promise.reject(new Error('away')) : want))
    const { deliver, clock, signals, running, said, end, stage } = limited({ share, maxConcurrent: 8 })
    await deliver('1')
    away = true
    await clock.advance(4_400)
    expect(signals.get('1')?.aborted).toBe(false)
    await clock.advance(200)
    expect(signals.get('1')?.aborted).toBe(true)
    expect(stage.health()).toMatchObject({ ready: true, details: { share: 'away', granted: 0 } })
    await end('1', new Error('stopped'))
    expect(said.get('1')).toMatchObject({ code: 'retry-later', holds: 'lane', counts: false })
    expect(isRetryLater(await deliver('2'))).toBe(true)
    away = false
    await clock.advance(1_500)
    await deliver('2')
    expect([...running.keys()]).toEqual(['2'])
  })

  it('goes on by itself while the store is away, where it is told to', async () => {
    const share = store(() => Promise.reject(new Error('away')))
    const { deliver, running, clock, signals } = limited({ share, whileAway: 'this-process' })
    for (const id of ['1', '2', '3']) await deliver(id)
    expect([...running.keys()]).toEqual(['1', '2'])
    await clock.advance(20_000)
    expect(signals.get('1')?.aborted).toBe(false)
  })

  it('renews its lease while anything runs or waits, and gives everything back after that', async () => {
    const share = store(({ want }) => want)
    const { deliver, clock, end } = limited({ share, maxConcurrent: 8 })
    await deliver('1')
    await clock.advance(5_000)
    expect(share.asked.length).toBeGreaterThanOrEqual(5)
    await end('1')
    await clock.advance(3_000)
    expect(share.asked.at(-1)).toMatchObject({ held: 0, want: 0 })
    const { length } = share.asked
    await clock.advance(60_000)
    expect(share.asked).toHaveLength(length)
  })
})
