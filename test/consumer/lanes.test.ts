import { describe, expect, it } from 'vitest'
import fc from 'fast-check'
import { AbandonedError, RetryLater } from '../../src/core/errors.ts'
import { lanes } from '../../src/consumer/lanes.ts'
import type { Lanes } from '../../src/consumer/lanes-options.ts'
import { fakeClock } from '../../src/testing/index.ts'

interface Item {
  readonly key: string | null
  readonly n: number
}

/** Lanes whose items end when the test says so. */
function bench({ concurrency = 8, ahead = 256 } = {}) {
  const clock = fakeClock()
  const running = new Map<Item, PromiseWithResolvers<void>>()
  const started: number[] = []
  const attempts: number[] = []
  const alone: number[] = []
  const keyed: Lanes<Item> = lanes<Item>({
    concurrency,
    ahead,
    redeliverMs: 100,
    clock,
    run(item, key, attempt) {
      expect(key).toBe(item.key)
      expect([...running.keys()].filter((other) => other.key !== null && other.key === item.key)).toEqual([])
      started.push(item.n)
      attempts.push(attempt)
      const ends = Promise.withResolvers<void>()
      running.set(item, ends)
      return ends.promise.finally(() => running.delete(item))
    },
    onNack: (_item, _error, attempt) => attempt + 1,
    onHoldsAlone: ({ n }) => void alone.push(n),
  })
  const find = (n: number) => [...running].find(([item]) => item.n === n)?.[1]
  return {
    clock,
    keyed,
    started,
    attempts,
    alone,
    runs: () => [...running.keys()].map(({ n }) => n).toSorted((a, b) => a - b),
    async end(n: number) {
      find(n)?.resolve()
      await clock.advance(0)
    },
    async fail(n: number, error: unknown) {
      find(n)?.reject(error)
      await clock.advance(0)
    },
  }
}

const circuitOpen = new RetryLater(1000, { holds: 'pipeline' })

function fill(keyed: Lanes<Item>, keys: readonly (string | null)[], track = keyed.open()) {
  keys.forEach((key, n) => keyed.add(track, key, { key, n }))
  return track
}

describe('lanes', () => {
  it('runs a key one at a time in order, and others beside it', async () => {
    const { keyed, end, runs, started } = bench()
    const track = fill(keyed, ['a', 'a', 'b', 'a', 'b'])
    expect(runs()).toEqual([0, 2])
    await end(0)
    expect(runs()).toEqual([1, 2])
    await end(2)
    await end(1)
    await end(3)
    await end(4)
    expect(started).toEqual([0, 2, 1, 4, 3])
    expect(track.window.size).toBe(0)
    expect(track.byKey.size).toBe(0)
    expect(keyed).toMatchObject({ inFlight: 0, buffered: 0 })
  })

  it('spreads messages without a key over the places', () => {
    const { keyed, runs } = bench({ concurrency: 3 })
    fill(keyed, [null, null, null, null])
    expect(runs()).toEqual([0, 1, 2])
  })

  it('K-2: the position is the first that is not done, whatever ended after it', async () => {
    const { keyed, end } = bench()
    const track = fill(keyed, ['a', 'b', 'c', 'd'])
    await end(2)
    await end(1)
    expect(track.window.oldest?.n).toBe(0)
    await end(0)
    expect(track.window.oldest?.n).toBe(3)
    await end(3)
    expect(track.window.oldest).toBeUndefined()
  })

  it('starts nothing further than `ahead` past the first that is not done', async () => {
    const { keyed, end, runs } = bench({ ahead: 2 })
    fill(keyed, ['a', 'b', 'c', 'd'])
    expect(runs()).toEqual([0, 1])
    await end(1)
    expect(runs()).toEqual([0])
    await end(0)
    expect(runs()).toEqual([2, 3])
  })

  it('K-8: a drain fills the gaps before what was started, and starts nothing beyond', async () => {
    const { keyed, clock, end, runs } = bench({ concurrency: 2 })
    const track = fill(keyed, ['a', 'a', 'b', 'a', 'c'])
    expect(runs()).toEqual([0, 2])
    let drained = false
    void keyed.drain().then(() => (drained = true))
    await end(0)
    // 1 lies before 2, which was started; 3 and 4 lie beyond.
    expect(runs()).toEqual([1, 2])
    await end(2)
    expect(drained).toBe(false)
    await end(1)
    expect(drained).toBe(true)
    expect(runs()).toEqual([])
    expect(track.window.oldest?.n).toBe(3)
    keyed.resume()
    await clock.advance(0)
    expect(runs()).toEqual([3, 4])
  })

  it('a failure holds its key, twice as long every time', async () => {
    const { keyed, clock, fail, runs, attempts } = bench()
    const track = fill(keyed, ['a', 'a', 'b'])
    await fail(0, new Error('no'))
    expect(runs()).toEqual([2])
    expect(track.held.size).toBe(1)
    await clock.advance(100)
    expect(runs()).toEqual([0, 2])
    await fail(0, new Error('no'))
    await clock.advance(199)
    expect(runs()).toEqual([2])
    await clock.advance(1)
    expect(runs()).toEqual([0, 2])
    expect(attempts).toEqual([1, 1, 2, 3])
  })

  it('a drain does not wait for a key that is held', async () => {
    const { keyed, clock, fail, end } = bench()
    fill(keyed, ['a', 'b'])
    await fail(0, new Error('no'))
    let drained = false
    void keyed.drain().then(() => (drained = true))
    await end(1)
    await clock.advance(0)
    expect(drained).toBe(true)
  })

  it('B-2: what holds the pipeline stops all starts, and one probe goes first', async () => {
    const { keyed, clock, fail, end, runs } = bench({ concurrency: 2 })
    fill(keyed, ['a', 'b', 'c', 'd'])
    await fail(0, circuitOpen)
    await fail(1, circuitOpen)
    expect(runs()).toEqual([])
    expect(keyed.halted).toBe(true)
    await clock.advance(999)
    expect(runs()).toEqual([])
    await clock.advance(1)
    expect(runs()).toEqual([0])
    await end(0)
    expect(runs()).toEqual([1, 2])
    expect(keyed.halted).toBe(false)
  })

  it('F-3: a probe that failed is not the next probe while another one waits', async () => {
    const { keyed, clock, fail, runs } = bench()
    fill(keyed, ['a', 'b'])
    await fail(0, circuitOpen)
    await fail(1, circuitOpen)
    const probes: number[] = []
    for (let probe = 0; probe < 4; probe++) {
      await clock.advance(1000)
      const [n = -1] = runs()
      probes.push(n)
      await fail(n, circuitOpen)
    }
    expect(probes).toEqual([0, 1, 0, 1])
  })

  it('F-3: probes in turns with the oldest and the youngest of those that failed least', async () => {
    const { keyed, clock, fail, end, runs } = bench({ concurrency: 2 })
    // A burst of poison that was never tried stands before the good ones.
    fill(
      keyed,
      Array.from({ length: 20 }, (_, n) => `key-${n}`),
    )
    await fail(0, circuitOpen)
    await fail(1, circuitOpen)
    const probes: number[] = []
    for (let probe = 0; probe < 4; probe++) {
      await clock.advance(1000)
      const [n = -1] = runs()
      probes.push(n)
      await fail(n, circuitOpen)
    }
    expect(probes).toEqual([0, 19, 1, 18])
    await clock.advance(1000)
    await end(runs()[0] ?? -1)
    expect(keyed.halted).toBe(false)
  })

  it('F-3: never probes with a message that failed by itself while another one waits', async () => {
    const { keyed, clock, fail, end, runs } = bench({ concurrency: 3 })
    fill(keyed, ['poison', 'b', 'c', 'd'])
    await fail(0, new Error('a bug'))
    await fail(1, circuitOpen)
    await fail(2, circuitOpen)
    await clock.advance(100)
    // The poison one would be first by its arrival.
    await end(3)
    await clock.advance(900)
    expect(runs()).toEqual([1])
  })

  it('F-5: a probe that fails by itself lets no crowd through', async () => {
    const { keyed, clock, fail, end, runs } = bench({ concurrency: 64 })
    fill(keyed, ['a', 'b', ...Array.from({ length: 60 }, (_, n) => `key-${n}`)])
    for (let n = 0; n < 62; n++) await fail(n, circuitOpen)
    await clock.advance(1000)
    expect(runs()).toEqual([0])
    await fail(0, new Error('a bug'))
    expect(runs()).toEqual([61])
    expect(keyed.halted).toBe(true)
    await end(61)
    expect(keyed.halted).toBe(false)
    expect(runs()).toHaveLength(60)
  })

  it('F-3: a message that holds the pipeline again and again by itself ends up holding its own lane', async () => {
    const { keyed, clock, fail, end, runs, alone } = bench({ concurrency: 1 })
    const keys = Array.from({ length: 40 }, (_, n) => `key-${n}`)
    const track = fill(keyed, keys)
    for (let step = 0; step < 200 && track.window.size > 0; step++) {
      const [n] = runs()
      if (n === undefined) await clock.advance(1000)
      else if (n === 0) await fail(0, circuitOpen)
      else await end(n)
      if (track.byKey.size === 1) break
    }
    expect(alone).toEqual([0])
    expect(keyed.halted).toBe(false)
    expect(track.byKey.size).toBe(1)
  })

  it('F-3: an outage is nobody’s own: the messages that it held keep the pipeline held', async () => {
    const { keyed, clock, fail, runs, alone } = bench({ concurrency: 2 })
    fill(keyed, ['a', 'b', 'c'])
    for (let step = 0; step < 50; step++) {
      for (const n of runs()) await fail(n, circuitOpen)
      await clock.advance(1000)
    }
    expect(alone).toEqual([])
    expect(keyed.halted).toBe(true)
  })

  it('gives back what was not started, in the order of arrival', async () => {
    const { keyed, fail } = bench({ concurrency: 2, ahead: 4 })
    const track = fill(keyed, ['a', 'b', 'a', null, 'c', 'd'])
    await fail(1, new Error('no'))
    expect(keyed.close(track).map(({ n }) => n)).toEqual([1, 2, 4, 5])
    expect(keyed.close(track)).toEqual([])
  })

  it('drains one track, and leaves the others alone', async () => {
    const { keyed, end, runs } = bench({ concurrency: 3 })
    const first = fill(keyed, ['a', 'a', 'b', 'a'])
    const other = keyed.open()
    keyed.add(other, 'x', { key: 'x', n: 10 })
    keyed.add(other, 'x', { key: 'x', n: 11 })
    let drained = false
    void keyed.drain(first).then(() => (drained = true))
    await end(0)
    await end(2)
    expect(runs()).toEqual([1, 10])
    await end(10)
    expect(runs()).toEqual([1, 11])
    expect(drained).toBe(false)
    await end(1)
    expect(drained).toBe(true)
    expect(first.window.oldest?.n).toBe(3)
    keyed.resume(first)
    expect(runs()).toEqual([3, 11])
  })

  it('a drain never runs beyond the highest index that was started, also after lower ones were', async () => {
    const { keyed, end, fail, clock, runs } = bench({ concurrency: 3 })
    fill(keyed, ['a', 'a', 'b', 'b', 'c'])
    expect(runs()).toEqual([0, 2, 4])
    // 1 starts after 4: what was started reaches to 4 all the same.
    await end(0)
    expect(runs()).toEqual([1, 2, 4])
    await fail(2, new Error('no'))
    let drained = false
    void keyed.drain().then(() => (drained = true))
    await end(1)
    await end(4)
    await clock.advance(0)
    expect(drained).toBe(true)
    await clock.advance(100)
    // 2 was started before, and 3 lies before 4.
    expect(runs()).toEqual([2])
    await end(2)
    expect(runs()).toEqual([3])
  })

  it('can be awaited: an open track, and a closed one that still runs', async () => {
    const { keyed, end, clock } = bench()
    const track = fill(keyed, ['a'])
    keyed.close(track)
    let settled = false
    void track.settled().then(() => (settled = true))
    await clock.advance(0)
    expect(settled).toBe(false)
    await end(0)
    expect(settled).toBe(true)
  })

  it('tells which item is done', async () => {
    const { keyed, end } = bench()
    const done: number[] = []
    const track = keyed.open({ onDone: ({ n }) => void done.push(n) })
    fill(keyed, ['a', 'b', 'a'], track)
    await end(1)
    await end(0)
    expect(done).toEqual([1, 0])
  })

  it('R-22: a track without positions keeps nothing of what is done behind a held key', async () => {
    const { keyed, end, fail, runs } = bench({ ahead: 2 })
    const track = fill(keyed, ['held', 'b', 'c', 'd', 'e'], keyed.open({ positions: false }))
    await fail(0, new RetryLater(60_000))
    // `ahead` is for positions: everything else runs.
    for (const n of runs()) await end(n)
    expect(track.window.size).toBe(1)
    expect(keyed.buffered).toBe(1)
    expect(track.window.oldest).toBeUndefined()
  })

  it('starts nothing of a track without positions while it drains', async () => {
    const { keyed, end, runs } = bench({ concurrency: 1 })
    const track = fill(keyed, ['a', 'a', 'b'], keyed.open({ positions: false }))
    let drained = false
    void keyed.drain(track).then(() => (drained = true))
    await end(0)
    expect(drained).toBe(true)
    expect(runs()).toEqual([])
    expect(keyed.close(track).map(({ n }) => n)).toEqual([1, 2])
  })

  it('runs nothing again after quit, and leaves no timer', async () => {
    const { keyed, clock, fail, end, runs } = bench({ concurrency: 3 })
    fill(keyed, ['a', 'b', 'c', 'a'])
    await fail(0, new Error('no'))
    keyed.quit()
    expect(clock.waiting).toBe(0)
    await fail(1, new Error('no'))
    await clock.advance(100_000)
    expect(runs()).toEqual([2])
    let drained = false
    void keyed.drain().then(() => (drained = true))
    await end(2)
    expect(drained).toBe(true)
  })

  it('leaves no timer behind once every track is closed', async () => {
    const { keyed, clock, fail } = bench()
    const track = fill(keyed, ['a', 'b'])
    await fail(0, new RetryLater(60_000))
    await fail(1, new RetryLater(60_000, { holds: 'pipeline' }))
    expect(clock.waiting).toBe(2)
    keyed.close(track)
    expect(clock.waiting).toBe(0)
  })

  it('forgets ownerships of which nothing runs any more', () => {
    const { keyed } = bench()
    let track = keyed.open()
    for (let n = 0; n < 5; n++) {
      keyed.close(track)
      track = keyed.open({ after: track })
    }
    expect(track.before).toBeUndefined()
  })

  it('B-10: what was given up holds its key until it ends, and frees its place', async () => {
    const { keyed, clock, fail, runs } = bench({ concurrency: 1 })
    const track = fill(keyed, ['a', 'a', 'b'])
    const late = Promise.withResolvers<void>()
    await fail(0, new AbandonedError('deaf', late.promise))
    expect(runs()).toEqual([2])
    expect(track.abandoned).toBe(1)
    await clock.advance(1_000_000)
    expect(runs()).toEqual([2])
    late.resolve()
    await clock.advance(0)
    expect(track.abandoned).toBe(0)
  })

  it('a key that still runs in a lost ownership waits in the next one', async () => {
    const { keyed, end, runs } = bench()
    const lost = fill(keyed, ['a', 'b'])
    keyed.close(lost)
    expect(keyed.buffered).toBe(0)
    const track = keyed.open({ after: lost })
    keyed.add(track, 'a', { key: 'a', n: 10 })
    keyed.add(track, 'c', { key: 'c', n: 11 })
    expect(runs()).toEqual([0, 1, 11])
    await end(0)
    expect(runs()).toEqual([1, 10, 11])
    await end(10)
    await end(11)
    expect(track.window.size).toBe(0)
  })

  it('a drain waits for nothing of a lost ownership', async () => {
    const { keyed, clock } = bench()
    keyed.close(fill(keyed, ['a']))
    let drained = false
    void keyed.drain().then(() => (drained = true))
    await clock.advance(0)
    expect(drained).toBe(true)
  })

  it('whatever ends in whatever order, every key runs in order and everything runs', async () => {
    const keys = fc.array(fc.constantFrom('a', 'b', 'c', null), { maxLength: 40 })
    const ends = fc.array(fc.nat(1000), { minLength: 60, maxLength: 60 })
    await fc.assert(
      fc.asyncProperty(
        keys,
        ends,
        fc.integer({ min: 1, max: 5 }),
        fc.integer({ min: 1, max: 8 }),
        async (list, random, concurrency, ahead) => {
          const { keyed, started, end, fail, runs, clock } = bench({ concurrency, ahead })
          const track = fill(keyed, list)
          for (let step = 0; track.window.size > 0 && step < 500; step++) {
            expect(runs().length).toBeLessThanOrEqual(concurrency)
            const now = runs()
            const pick = random[step % random.length] ?? 0
            const n = now[pick % now.length]
            if (n !== undefined) await (pick % 5 === 0 && step < 100 ? fail(n, new Error('no')) : end(n))
            if (runs().length === 0) await clock.advance(100_000)
          }
          expect(track.window.size).toBe(0)
          const first = [...new Set(started)]
          for (const key of ['a', 'b', 'c']) {
            const of = first.filter((n) => list[n] === key)
            expect(of).toEqual(of.toSorted((a, b) => a - b))
          }
          expect(first.length).toBe(list.length)
        },
      ),
      { numRuns: 200 },
    )
  })
})
