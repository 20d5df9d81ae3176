import PQueue from 'p-queue'
import { systemClock } from 'holdfast'
import { lanes } from '../../src/consumer/lanes.ts'
import type { Comparison, Contender } from '../measure.ts'

const keys = Array.from({ length: 1000 }, (_, key) => `key-${key}`)
const keyOf = (n: number): string => keys[n % keys.length] ?? ''
const work = (): Promise<void> => Promise.resolve()

/** Each key in order, many keys side by side: the executor alone, with work that is done at once. */
export function executorArea(): Comparison[] {
  const shared = { area: 'executor', name: 'keyed executor, 1,000 keys', ours: ours() }
  return [
    { ...shared, beside: queues(), target: { speed: 11 } },
    { ...shared, beside: chains(), target: { speed: 1.9 } },
  ]
}

// What a transport hands over at once.
const batch = 1000

function ours(): Contender {
  let left = 0
  let done = (): void => {}
  const executor = lanes<number>({
    concurrency: 64,
    ahead: 4096,
    redeliverMs: 1000,
    clock: systemClock,
    run: work,
    onNack: (_, __, attempt) => attempt + 1,
  })
  const track = executor.open({
    onDone: () => {
      if (--left === 0) done()
    },
  })
  return {
    name: 'holdfast lanes',
    async run(times) {
      for (let from = 0; from < times; from += batch) {
        const to = Math.min(times, from + batch)
        left = to - from
        const finished = new Promise<void>((resolve) => (done = resolve))
        for (let n = from; n < to; n++) executor.add(track, keyOf(n), n)
        await finished
      }
    },
  }
}

function queues(): Contender {
  const byKey = new Map<string, PQueue>()
  return {
    name: 'p-queue per key',
    async run(times) {
      for (let from = 0; from < times; from += batch) {
        const to = Math.min(times, from + batch)
        const all: Promise<unknown>[] = []
        for (let n = from; n < to; n++) {
          const key = keyOf(n)
          let queue = byKey.get(key)
          if (queue === undefined) byKey.set(key, (queue = new PQueue({ concurrency: 1 })))
          all.push(queue.add(work))
        }
        await Promise.all(all)
        byKey.clear()
      }
    },
  }
}

function chains(): Contender {
  const byKey = new Map<string, Promise<void>>()
  return {
    name: 'promise chain per key',
    async run(times) {
      for (let from = 0; from < times; from += batch) {
        const to = Math.min(times, from + batch)
        const all: Promise<unknown>[] = []
        for (let n = from; n < to; n++) {
          const key = keyOf(n)
          const mine: Promise<void> = (byKey.get(key) ?? Promise.resolve()).then(work).finally(() => {
            if (byKey.get(key) === mine) byKey.delete(key)
          })
          byKey.set(key, mine)
          all.push(mine)
        }
        await Promise.all(all)
      }
    },
  }
}
