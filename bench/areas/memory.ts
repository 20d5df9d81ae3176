import { systemClock } from 'holdfast'
import { lanes } from '../../src/ordering/lanes.ts'
import { targetText, type Row, type Target } from '../measure.ts'
import { deliveries } from '../messages.ts'
import { bare, stack, type Step } from './stack.ts'

const inFlight = 10_000

/** What is held while messages are handled, and while nothing is. */
export async function* memoryArea(rounds: number): AsyncIterable<Row> {
  const above: number[] = []
  const perKey: number[] = []
  const idle: number[] = []
  for (let round = 0; round < Math.min(rounds, 5); round++) {
    const plain = await heldBy(bare)
    above.push((await heldBy(stack)) - plain)
    const keys = await heldByLanes()
    perKey.push(keys.active)
    idle.push(keys.idle)
  }
  yield bytes('seven-feature stack, held per message in flight', 'a bare handler', above, { cost: 2560 })
  yield bytes('lanes, held per active key', 'nothing', perKey, { cost: 400 })
  yield bytes('lanes, held per idle key', 'nothing', idle, { cost: 1 })
}

async function heldBy(build: (work: () => Promise<void>) => Step): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<void>()
  const step = build(() => promise)
  const next = deliveries()
  const given = Array.from({ length: inFlight }, next)
  const before = heap()
  const running = given.map((delivery) => step(delivery))
  await turn()
  const held = (heap() - before) / inFlight
  resolve()
  await Promise.all(running)
  return held
}

async function heldByLanes(): Promise<{ active: number; idle: number }> {
  const { promise, resolve } = Promise.withResolvers<void>()
  let left = inFlight
  const done = Promise.withResolvers<void>()
  const executor = lanes<number>({
    concurrency: 64,
    ahead: inFlight,
    redeliverMs: 1000,
    clock: systemClock,
    run: async () => {
      await promise
      if (--left === 0) done.resolve()
    },
    onNack: (_, __, attempt) => attempt + 1,
  })
  const keys = Array.from({ length: inFlight }, (_, key) => `key-${key}`)
  const track = executor.open()
  const before = heap()
  keys.forEach((key, n) => executor.add(track, key, n))
  await turn()
  const active = (heap() - before) / inFlight
  resolve()
  await done.promise
  await turn()
  return { active, idle: Math.max(0, (heap() - before) / inFlight) }
}

function bytes(name: string, beside: string, values: number[], target: Target): Row {
  const [low = NaN, median = NaN, high = NaN] = [0.25, 0.5, 0.75].map((at) => quantileOf(values, at))
  const most = 'cost' in target ? target.cost : NaN
  return {
    area: 'memory',
    name,
    ratio: median / most,
    quartiles: [low / most, high / most],
    beside,
    target: targetText(target).replace('×', ' B'),
    met: median <= most,
    detail: `${median.toFixed(0)} B`,
  }
}

function quantileOf(values: readonly number[], at: number): number {
  return values.toSorted((a, b) => a - b)[Math.round((values.length - 1) * at)] ?? NaN
}

function heap(): number {
  globalThis.gc?.()
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
