import { describe, expect, it } from 'vitest'
import fc from 'fast-check'
import { takesFollowers } from '../../src/consumer/followers.ts'
import { lanes } from '../../src/consumer/lanes.ts'
import type { Lanes } from '../../src/consumer/lanes-options.ts'
import type { LaneTrack } from '../../src/consumer/track.ts'
import type { Following } from '../../src/core/parking.ts'
import { deadLetter, idempotency, pipeline, type Middleware } from '../../src/index.ts'
import { delayed, parking } from '../../src/ordering/parking/parking.ts'
import { fakeClock } from '../../src/testing/index.ts'
import { memoryIdempotencyStore } from '../../src/transports/memory/idempotency-store.ts'

interface Item {
  readonly key: string
  readonly n: number
}
interface Start {
  readonly n: number
  readonly place: number | undefined
}

/** Lanes whose items end when the test says so, and as it says. */
function bench({ concurrency = 8, ahead = 256 } = {}) {
  const clock = fakeClock()
  const running = new Map<number, PromiseWithResolvers<string>>()
  const started: Start[] = []
  const done: number[] = []
  const nacked: number[] = []
  const keyed: Lanes<Item> = lanes<Item>({
    concurrency,
    ahead,
    redeliverMs: 100,
    clock,
    run({ n }, _key, _attempt, following?: Following) {
      started.push({ n, place: following?.place })
      const ends = Promise.withResolvers<string>()
      running.set(n, ends)
      return ends.promise.finally(() => running.delete(n))
    },
    putsAway: (outcome) => outcome === 'parked',
    onNack({ n }, _error, attempt) {
      nacked.push(n)
      return attempt + 1
    },
  })
  return {
    clock,
    keyed,
    started,
    done,
    nacked,
    open: (after?: LaneTrack<Item>) => keyed.open({ after, onDone: ({ n }) => void done.push(n) }),
    runs: () => [...running.keys()],
    async end(n: number, outcome = 'parked') {
      running.get(n)?.resolve(outcome)
      await clock.advance(0)
    },
    async fail(n: number) {
      running.get(n)?.reject(new Error('not now'))
      await clock.advance(0)
    },
  }
}

const alone = undefined

function fill(keyed: Lanes<Item>, track: LaneTrack<Item>, keys: readonly string[], from = 0): void {
  keys.forEach((key, at) => keyed.add(track, key, { key, n: from + at }))
}

describe('what is behind a parked message', () => {
  it('starts together, in its order, and each is told so', async () => {
    const { keyed, open, end, runs, started, done } = bench()
    const track = open()
    fill(keyed, track, ['a', 'a', 'a', 'b', 'a'])
    await end(0)
    expect(runs()).toEqual([3, 1, 2, 4])
    expect(started.slice(2)).toEqual([
      { n: 1, place: 0 },
      { n: 2, place: 1 },
      { n: 4, place: 2 },
    ])
    for (const n of [4, 1]) await end(n)
    // They end as one.
    expect(done).toEqual([0])
    await end(2)
    expect(done).toEqual([0, 1, 2, 4])
    await end(3, 'handled')
    expect(track.window.size).toBe(0)
    expect(track.byKey.size).toBe(0)
    expect(keyed).toMatchObject({ inFlight: 0, buffered: 0 })
  })

  it('starts one by one behind a message that was handled', async () => {
    const { keyed, open, end, runs } = bench()
    fill(keyed, open(), ['a', 'a', 'a'])
    await end(0, 'handled')
    expect(runs()).toEqual([1])
  })

  it('has one place for all of them, so that other keys start next to them, and goes on with the rest', async () => {
    const { keyed, open, end, runs, started } = bench({ concurrency: 2 })
    const track = open()
    fill(keyed, track, Array<string>(40).fill('a'))
    fill(keyed, track, ['b', 'c'], 40)
    expect(runs()).toEqual([0, 40])
    await end(0)
    expect(runs()).toHaveLength(33)
    expect(keyed.inFlight).toBe(2)
    await end(40, 'handled')
    expect(runs()).toContain(41)
    expect(keyed.inFlight).toBe(2)
    for (let n = 1; n <= 32; n++) await end(n)
    expect(runs()).toEqual([41, 33, 34, 35, 36, 37, 38, 39])
    expect(started.at(-1)).toEqual({ n: 39, place: 6 })
  })

  it('starts nothing further than `ahead`', async () => {
    const { keyed, open, end, fail, runs } = bench({ ahead: 3 })
    fill(keyed, open(), ['b', 'a', 'a', 'a', 'a'])
    await fail(0)
    await end(1)
    expect(runs()).toEqual([2])
  })

  it('starts again in its turn where it was not put away, alone, and nothing is run twice', async () => {
    const { keyed, open, end, fail, runs, started, done, nacked } = bench()
    const track = open()
    fill(keyed, track, ['a', 'a', 'a', 'a', 'a'])
    await end(0)
    await end(1)
    await fail(2)
    // It was none of those that had to be put there: a message that cannot be read.
    await end(3, 'dead-lettered')
    await fail(4)
    expect(nacked).toEqual([])
    expect(done).toEqual([0, 1, 3])
    expect(runs()).toEqual([2])
    expect(started.at(-1)).toEqual({ n: 2, place: alone })
    await end(2, 'handled')
    expect(started.at(-1)).toEqual({ n: 4, place: alone })
    await end(4, 'handled')
    expect(started.map(({ n }) => n)).toEqual([0, 1, 2, 3, 4, 2, 4])
    expect(track.window.size).toBe(0)
  })

  it('keeps what comes in meanwhile behind it', async () => {
    const { keyed, open, end, fail, runs } = bench()
    const track = open()
    fill(keyed, track, ['a', 'a', 'a'])
    await end(0)
    fill(keyed, track, ['a'], 3)
    await end(2)
    await fail(1)
    expect(runs()).toEqual([1])
    await end(1, 'handled')
    expect(runs()).toEqual([3])
    await end(3, 'handled')
    expect(track.window.size).toBe(0)
  })

  it.each([[[1]], [[2]], [[3]], [[1, 3]], [[1, 2, 3]], [[]]])(
    'loses nothing that comes in afterwards, where %j were not put away',
    async (failing) => {
      const { keyed, open, end, fail, runs, started, done } = bench({ ahead: 3 })
      const track = open()
      fill(keyed, track, ['a', 'a', 'a', 'a', 'a'])
      await end(0)
      fill(keyed, track, ['a'], 5)
      for (const n of [1, 2, 3]) await (failing.includes(n) ? fail(n) : end(n))
      fill(keyed, track, ['a'], 6)
      while (runs().length > 0) await end(runs()[0] ?? -1, 'handled')
      expect(done.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6])
      const again = started.slice(4).map(({ n }) => n)
      expect(again).toEqual([...failing, 4, 5, 6])
      expect(track.window.size).toBe(0)
    },
  )

  it('gives back what was not started, and holds the key in the next ownership until all have ended', async () => {
    const { keyed, open, end, runs } = bench({ ahead: 3 })
    const first = open()
    fill(keyed, first, ['a', 'a', 'a', 'a', 'a'])
    await end(0)
    expect(runs()).toEqual([1, 2, 3])
    await end(1)
    expect(keyed.close(first).map(({ n }) => n)).toEqual([4])
    const next = open(first)
    fill(keyed, next, ['a'], 10)
    await end(3)
    expect(runs()).toEqual([2])
    await end(2)
    expect(runs()).toEqual([10])
  })

  it('starts nothing in a drain that lies beyond what was started', async () => {
    const { keyed, open, end, runs, started } = bench()
    fill(keyed, open(), ['a', 'b', 'a', 'a'])
    void keyed.drain()
    await end(0)
    expect(runs()).toEqual([1])
    await end(1, 'handled')
    keyed.resume()
    expect(started.slice(-2)).toEqual([
      { n: 2, place: 0 },
      { n: 3, place: 1 },
    ])
  })

  it('whatever ends in whatever way, each key gets to its end in order and nothing is left', async () => {
    const keys = fc.array(fc.constantFrom('a', 'b'), { maxLength: 30 })
    const ends = fc.array(fc.nat(1000), { minLength: 40, maxLength: 40 })
    const places = fc.integer({ min: 1, max: 6 })
    await fc.assert(
      fc.asyncProperty(keys, ends, places, async (list, random, concurrency) => {
        const { keyed, open, end, fail, runs, started, done, clock } = bench({ concurrency })
        const track = open()
        fill(keyed, track, list)
        for (let step = 0; track.window.size > 0 && step < 1_000; step++) {
          const now = runs()
          expect(keyed.inFlight).toBeLessThanOrEqual(concurrency)
          const pick = random[step % random.length] ?? 0
          const n = now[pick % Math.max(1, now.length)]
          if (n === undefined) await clock.advance(100_000)
          else if (pick % 4 === 0 && step < 300) await fail(n)
          else await end(n, pick % 3 === 0 ? 'handled' : 'parked')
          // Alone means: nothing else of its key runs.
          for (const key of ['a', 'b']) {
            const mine = runs().filter((each) => list[each] === key)
            const last = mine.map((each) => started.findLast((start) => start.n === each)?.place)
            if (last.includes(undefined)) expect(mine).toHaveLength(1)
          }
        }
        expect(track.window.size).toBe(0)
        expect(keyed).toMatchObject({ inFlight: 0, buffered: 0 })
        expect(done.toSorted((a, b) => a - b)).toEqual(list.map((_, n) => n))
      }),
      { numRuns: 200 },
    )
  })
})

describe('a pipeline takes followers together', () => {
  const store = memoryIdempotencyStore()
  const to = { publish: () => Promise.resolve() }
  const stack = (...outside: Middleware[]) =>
    outside.reduce((made, each) => made.use(each), pipeline('orders')).use(deadLetter({ to }))

  it('only if it parks in the order of keys, and no stage of its own stands outside the claim', () => {
    const parks = stack()
      .use(parking({ store }))
      .use(idempotency({ store }))
      .handle(() => {})
    const delays = stack()
      .use(delayed({ store }))
      .use(idempotency({ store }))
      .handle(() => {})
    const plain = stack()
      .use(idempotency({ store }))
      .handle(() => {})
    const own: Middleware = (next) => async (delivery) => next(delivery)
    const watched = stack(own)
      .use(parking({ store }))
      .use(idempotency({ store }))
      .handle(() => {})
    const inside = stack()
      .use(parking({ store }))
      .use(idempotency({ store }))
      .use(own)
      .handle(() => {})
    expect([parks, delays, plain, watched, inside].map((each) => takesFollowers(each))).toEqual([
      ...[true, false, false, false, true],
    ])
  })
})
