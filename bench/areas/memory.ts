import { systemClock } from 'holdfast'
import { lanes } from '../../src/consumer/lanes.ts'
import { limitRow, type Row } from '../measure.ts'
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
  yield bytes('seven-feature stack, held per message in flight', 'a bare handler', above, 2560)
  yield bytes('lanes, held per active key', 'nothing', perKey, 400)
  yield bytes('lanes, held per idle key', 'nothing', idle, 1)
}

function bytes(name: string, beside: string, values: readonly number[], most: number): Row {
  return limitRow({ area: 'memory', name, beside, values, most, unit: 'B' })
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

// What were kept of an idle key would grow with every further batch of other keys.
const batches = 8

async function heldByLanes(): Promise<{ active: number; idle: number }> {
  let gate = Promise.withResolvers<void>()
  let done = Promise.withResolvers<void>()
  let left = 0
  const executor = lanes<number>({
    concurrency: 64,
    ahead: inFlight,
    redeliverMs: 1000,
    clock: systemClock,
    run: () => gate.promise,
    onNack: (_, __, attempt) => attempt + 1,
  })
  const track = executor.open({
    onDone: () => {
      if (--left === 0) done.resolve()
    },
  })

  async function batch(name: string): Promise<{ active: number; after: number }> {
    const keys = Array.from({ length: inFlight }, (_, key) => `${name}-${key}`)
    gate = Promise.withResolvers()
    done = Promise.withResolvers()
    left = inFlight
    const before = heap()
    keys.forEach((key, n) => executor.add(track, key, n))
    await turn()
    const active = (heap() - before) / inFlight
    gate.resolve()
    await done.promise
    keys.length = 0
    await turn()
    return { active, after: heap() }
  }

  // The first ones warm everything up.
  await batch('first')
  const start = await batch('second')
  let end = start
  for (let n = 0; n < batches; n++) end = await batch(`batch-${n}`)
  return { active: start.active, idle: Math.max(0, (end.after - start.after) / (batches * inFlight)) }
}

function heap(): number {
  globalThis.gc?.()
  globalThis.gc?.()
  return process.memoryUsage().heapUsed
}

function turn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}
