import { describe, expect, it } from 'vitest'
import { logConsumer, type LogConsumerOptions } from '../../../src/consumer/log/log-consumer.ts'
import type { Assigned, LogBatch, LogHost, LogSession, Position } from '../../../src/consumer/log/log-client.ts'
import { RetryLater } from '../../../src/core/errors.ts'
import { subscribe, type ConsumerChange } from '../../../src/core/events.ts'
import { headersFrom } from '../../../src/core/message.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { fakeClock } from '../../../src/testing/index.ts'

const place = { topic: 'orders', partition: 0 }
let groups = 0

/** A group whose answers come when the test says so, and handlers that end likewise. Records are their offsets. */
function bench({
  refetches = false,
  confirms,
  ...options
}: Partial<LogConsumerOptions<number>> & { readonly refetches?: boolean; readonly confirms?: boolean } = {}) {
  const clock = fakeClock()
  const group = `group-${groups++}`
  const changes: ConsumerChange[] = []
  const unsubscribe = subscribe('consumer-changed', (change) => {
    if (change.group === group) changes.push(change)
  })
  const running = new Map<number, PromiseWithResolvers<void>>()
  const runs: number[] = []
  const signals = new Map<number, AbortSignal>()
  const calls: string[] = []
  const trouble: { because: string | undefined } = { because: undefined }
  let host: LogHost<number> | undefined
  const consumer = logConsumer<number>({
    group,
    clock,
    redeliverMs: 100,
    drainMs: 1000,
    sessionMs: 30_000,
    heartbeatMs: 1000,
    pipeline: pipeline('p').handle(({ origin, signal }) => {
      const offset = Number(origin.position)
      const ends = Promise.withResolvers<void>()
      runs.push(offset)
      running.set(offset, ends)
      signals.set(offset, signal)
      return ends.promise.finally(() => running.delete(offset))
    }),
    client: {
      system: 'test',
      refetches,
      offsetOf: (offset) => offset,
      keyOf: (offset) => `key-${offset}`,
      deliveryOf: (offset, { topic, partition }, { pipeline, key, attempt, signal, draining }) => ({
        message: { id: `m${offset}`, type: 't', key, headers: headersFrom([]), body: null, timeMs: 0 },
        bytes: null,
        pipeline,
        origin: { system: 'test', destination: topic, partition: `${partition}`, position: `${offset}`, group },
        attempt,
        signal,
        draining,
        raw: null,
      }),
      verdictOn(error) {
        const { message } = error as Error
        return message === 'rebalancing' || message === 'lost' ? message : 'unknown'
      },
      async open(given) {
        host = given
        return {
          problem: () => trouble.because,
          quiet: () => calls.push('quiet'),
          leave: async () => void calls.push('left'),
        }
      },
    },
    ...options,
  })
  const stop = new AbortController()
  const run = consumer.run(stop.signal).finally(unsubscribe)
  run.catch(() => {})
  return {
    clock,
    consumer,
    trouble,
    run,
    runs,
    signals,
    calls,
    stop: () => stop.abort(new Error('SIGTERM')),
    changed: (name: string) => changes.filter(({ change }) => change === name),
    running: () => [...running.keys()],
    async end(offset: number, error?: unknown) {
      if (error === undefined) running.get(offset)?.resolve()
      else running.get(offset)?.reject(error)
      await clock.advance(0)
    },
    /** A new generation, and the answers to what is asked in it. */
    async join(owned: readonly Assigned[] = [place], member = 'me') {
      await clock.advance(0)
      const commits: { readonly positions: readonly Position[]; readonly answer: PromiseWithResolvers<void> }[] = []
      const beats: PromiseWithResolvers<void>[] = []
      const resumed: number[] = []
      const session: LogSession = {
        commit(positions) {
          const answer = Promise.withResolvers<void>()
          commits.push({ positions, answer })
          if (confirms === true) answer.resolve()
          return answer.promise
        },
        beat() {
          const answer = Promise.withResolvers<void>()
          beats.push(answer)
          return answer.promise
        },
        resume: ({ partition }) => void resumed.push(partition),
      }
      if (host === undefined) throw new Error('not opened')
      const generation = host.joined(member, owned, session)
      return { generation, commits, beats, resumed }
    },
  }
}

function batch(from: number, to: number, begun = from): LogBatch<number> {
  const records = Array.from({ length: to - from }, (_, n) => from + n)
  return { ...place, records, from: begun, first: from, last: to - 1 }
}

/** Lets the group confirm everything that was asked so far. */
function confirm(commits: readonly { readonly answer: PromiseWithResolvers<void> }[]): void {
  for (const { answer } of commits) answer.resolve()
}

describe('generations', () => {
  it('K-21: a beat that is answered for an earlier generation does not drop what is owned now', async () => {
    const { clock, join, running, consumer, changed } = bench()
    const first = await join()
    await clock.advance(500)
    expect(first.beats).toHaveLength(1)
    const second = await join()
    first.beats[0]?.reject(new Error('lost'))
    await clock.advance(0)
    second.generation.accept(batch(0, 3))
    expect(running()).toEqual([0, 1, 2])
    expect(consumer.health().ready).toBe(true)
    expect(changed('lost')).toEqual([])
  })

  it('K-21: a beat that says "rebalancing" too late does not drain the present generation for ever', async () => {
    const { clock, join, running } = bench()
    const first = await join()
    await clock.advance(500)
    const second = await join()
    first.beats[0]?.reject(new Error('rebalancing'))
    await clock.advance(0)
    expect(second.generation.accept(batch(0, 3))).toBe('taken')
    expect(running()).toEqual([0, 1, 2])
  })

  it('K-21: a commit that fails for an earlier generation does not drop what is owned now', async () => {
    const { clock, join, end, running, changed } = bench()
    const first = await join()
    first.generation.accept(batch(0, 1))
    await end(0)
    await clock.advance(250)
    expect(first.commits).toHaveLength(1)
    const second = await join()
    first.commits[0]?.answer.reject(new Error('lost'))
    await clock.advance(0)
    second.generation.accept(batch(1, 3))
    expect(running()).toEqual([1, 2])
    expect(changed('lost')).toEqual([])
    expect(changed('commit-failed')).toEqual([])
  })

  it('asks nothing and believes nothing between a hand-back and the next join', async () => {
    const { clock, join, changed, consumer } = bench()
    const first = await join()
    await clock.advance(500)
    await first.generation.finish('join')
    first.beats[0]?.reject(new Error('lost'))
    await clock.advance(40_000)
    expect(first.beats).toHaveLength(1)
    expect(changed('lost')).toEqual([])
    // The group knows that it waits for this member.
    expect(changed('silent')).toEqual([])
    expect(consumer.health().ready).toBe(true)
  })

  it('is not ready after it was lost, and ready again once it has joined', async () => {
    const { clock, join, consumer, changed } = bench()
    const { beats, generation } = await join()
    await clock.advance(500)
    beats[0]?.reject(new Error('lost'))
    await clock.advance(0)
    expect(changed('lost')).toHaveLength(1)
    expect(consumer.health()).toMatchObject({
      ready: false,
      details: { reasons: ['it is not a member of the group'] },
    })
    expect(generation.accept(batch(0, 1))).toBe('refused')
    await join()
    expect(consumer.health().ready).toBe(true)
  })

  it('takes nothing, and says where nothing is, on a generation that is over', async () => {
    const { join, running } = bench()
    const first = await join()
    first.generation.accept(batch(0, 1))
    const second = await join([place], 'another member')
    expect(first.generation.isOver).toBe(true)
    expect(first.generation.accept(batch(1, 2))).toBe('refused')
    expect(first.generation.next(place)).toBeUndefined()
    first.generation.lost(new Error('late'))
    first.generation.ended()
    expect(second.generation.accept(batch(0, 2))).toBe('taken')
    expect(running()).toEqual([0, 1])
  })
})

describe('rebalances', () => {
  it('K-8: finishes what it started, commits it, and keeps the rest of a kept partition', async () => {
    const { clock, join, end, running } = bench({ concurrency: 2, confirms: true })
    const first = await join()
    first.generation.accept(batch(0, 4))
    expect(running()).toEqual([0, 1])
    let isFinished = false
    void first.generation.finish('join').then(() => (isFinished = true))
    await clock.advance(0)
    await end(1)
    expect(isFinished).toBe(false)
    await end(0)
    await clock.advance(0)
    expect(isFinished).toBe(true)
    expect(first.commits.at(-1)?.positions).toEqual([{ ...place, position: 2 }])
    expect(running()).toEqual([])
    await join()
    expect(running()).toEqual([2, 3])
  })

  it('drops what another member went on with meanwhile', async () => {
    const { join, running, signals } = bench()
    const first = await join()
    first.generation.accept(batch(0, 2))
    await join([{ ...place, committed: 7 }])
    expect(signals.get(0)?.aborted).toBe(true)
    expect(running()).toEqual([0, 1])
  })

  it('KIP-848: finishes some partitions while the others go on', async () => {
    const other = { topic: 'orders', partition: 1 }
    const { join, end, running } = bench({ concurrency: 2 })
    const { generation } = await join([place, other])
    generation.accept(batch(0, 1))
    generation.accept({ ...batch(10, 13), ...other })
    expect(running()).toEqual([0, 10])
    let isFinished = false
    void generation.finish('revoked', [place]).then(() => (isFinished = true))
    await end(10)
    expect(running()).toEqual([0, 11])
    await end(0)
    expect(running()).toEqual([11, 12])
    expect(isFinished).toBe(false)
  })
})

describe('a log that goes back', () => {
  const cases: [string, boolean][] = [
    ['while it runs', false],
    ['over a join', true],
  ]
  it.each(cases)('PK-1: is begun anew from its new beginning, %s', async (_, withJoin) => {
    const { clock, join, end, running, runs, changed } = bench({ refetches: true })
    let { generation, commits } = await join()
    generation.accept(batch(0, 5))
    for (let offset = 0; offset < 5; offset++) await end(offset)
    await clock.advance(250)
    confirm(commits)
    await clock.advance(0)
    if (withJoin) ({ generation, commits } = await join())
    // The topic was made anew: three messages where five were known.
    generation.accept(batch(0, 3))
    expect(running()).toEqual([0, 1, 2])
    expect(changed('out-of-range')).toMatchObject([{ detail: { ...place, position: 5, from: 0 } }])
    for (let offset = 0; offset < 3; offset++) await end(offset)
    await clock.advance(250)
    expect(commits.at(-1)?.positions).toEqual([{ ...place, position: 3 }])
    expect(runs).toEqual([0, 1, 2, 3, 4, 0, 1, 2])
  })

  it('is no alarm where a kept partition is fetched from its committed position again', async () => {
    const { clock, join, end, running, changed } = bench({ refetches: true })
    const first = await join()
    first.generation.accept(batch(0, 5))
    await end(0)
    await clock.advance(250)
    confirm(first.commits)
    await clock.advance(0)
    const { generation } = await join()
    generation.accept(batch(1, 6))
    expect(running()).toEqual([1, 2, 3, 4, 5])
    expect(changed('out-of-range')).toEqual([])
  })

  it('is no alarm where what is fetched again comes in several batches', async () => {
    const { join, running, changed } = bench({ refetches: true })
    const first = await join()
    first.generation.accept(batch(0, 5))
    const { generation } = await join()
    generation.accept(batch(0, 2))
    generation.accept(batch(2, 4))
    generation.accept(batch(4, 6))
    expect(running()).toEqual([0, 1, 2, 3, 4, 5])
    expect(changed('out-of-range')).toEqual([])
  })

  it('is no alarm where the group confirms more between the join and the first batch', async () => {
    const { clock, join, end, runs, changed } = bench({ refetches: true })
    const first = await join()
    first.generation.accept(batch(0, 5))
    for (let offset = 0; offset < 5; offset++) await end(offset)
    // Its client looks up the position at the join: the commit comes too late for that.
    const { generation, commits } = await join()
    await clock.advance(250)
    confirm(commits)
    await clock.advance(0)
    generation.accept(batch(0, 6))
    await end(5)
    expect(runs).toEqual([0, 1, 2, 3, 4, 5])
    expect(changed('out-of-range')).toEqual([])
  })

  it('is no alarm where an empty batch comes first', async () => {
    const { join, running, changed } = bench({ refetches: true })
    const first = await join()
    first.generation.accept(batch(0, 5))
    const { generation } = await join()
    generation.accept(batch(5, 5))
    generation.accept(batch(0, 6))
    expect(running()).toEqual([0, 1, 2, 3, 4, 5])
    expect(changed('out-of-range')).toEqual([])
  })

  it('PK-1: is noticed while it is fetched again', async () => {
    const { clock, join, end, running, changed } = bench({ refetches: true })
    const first = await join()
    first.generation.accept(batch(0, 5))
    for (let offset = 0; offset < 3; offset++) await end(offset)
    await clock.advance(250)
    confirm(first.commits)
    await clock.advance(0)
    const { generation } = await join()
    generation.accept(batch(0, 2))
    // The handlers of the old log are told to stop, and have not ended yet.
    expect(running()).toEqual([3, 4, 0, 1])
    expect(changed('out-of-range')).toMatchObject([{ detail: { ...place, position: 5, from: 0 } }])
  })
})

describe('the end of a process', () => {
  it('calls nothing again that only waits, and finishes what runs', async () => {
    const { clock, join, end, run, stop, runs, calls } = bench({ confirms: true })
    const { generation } = await join()
    generation.accept(batch(0, 3))
    await end(0, new Error('no'))
    await end(1, new RetryLater(50))
    stop()
    await clock.advance(200)
    expect(runs).toEqual([0, 1, 2])
    await end(2)
    await run
    expect(runs).toEqual([0, 1, 2])
    expect(calls).toEqual(['quiet', 'left'])
    expect(clock.waiting).toBe(0)
  })

  it('aborts what runs once the time to drain is over', async () => {
    const { clock, join, run, stop, signals } = bench({ confirms: true })
    const { generation } = await join()
    generation.accept(batch(0, 1))
    stop()
    await clock.advance(999)
    expect(signals.get(0)?.aborted).toBe(false)
    await clock.advance(1)
    expect(signals.get(0)?.aborted).toBe(true)
    await clock.advance(10_000)
    await run
    expect(clock.waiting).toBe(0)
  })

  it('refuses a second run, and leaves no timer where it never ran', async () => {
    const { consumer, clock, run, stop } = bench()
    await expect(consumer.run(new AbortController().signal)).rejects.toMatchObject({ code: 'bad-order' })
    stop()
    await clock.advance(10_000)
    await run
    expect(clock.waiting).toBe(0)
  })

  it('is not ready while its client cannot fetch, and says why', async () => {
    const { consumer, trouble, join, stop, run } = bench()
    await join()
    expect(consumer.health().ready).toBe(true)
    trouble.because = 'messages cannot be fetched from broker 1: ECONNREFUSED'
    expect(consumer.health()).toMatchObject({ ready: false, details: { reasons: [trouble.because] } })
    trouble.because = undefined
    expect(consumer.health().ready).toBe(true)
    stop()
    await run
  })
})
