// The rule of circuitBreaker() in virtual time, beside the rule that it replaced: 64 places, five attempts.
// `node scripts/measure/circuit-simulation.ts [seeds] [docs/performance/circuits.md]`
import { join } from 'node:path'
import { RetryLater } from '../../src/core/errors.ts'
import type { Clock } from '../../src/core/clock.ts'
import { LocalCircuit } from '../../src/retry/circuit/local-circuit.ts'
import type { Call } from '../../src/retry/circuit/terms.ts'
import { dependencyErrors } from '../../src/retry/circuit/looks-down.ts'
import { neverAborts } from '../../src/core/signals.ts'
import { seeded } from '../../src/transports/memory/random.ts'
import { writeFormatted } from '../write-formatted.ts'

interface World {
  readonly name: string
  readonly perSecond: number
  readonly arriveMs: number
  /** The part of the messages that fail for ever, and how. */
  readonly poison?: { readonly part: number; readonly as: 'bug' | 'outage' }
  readonly burst?: { readonly count: number; readonly as: 'bug' | 'outage' }
  /** When the dependency is down, and which part of its calls fails then. */
  readonly down?: (nowMs: number) => number
}

const minute = (nowMs: number): boolean => nowMs >= 30_000 && nowMs < 90_000
const base = { perSecond: 200, arriveMs: 110_000 }
const worlds: readonly World[] = [
  { ...base, name: 'poison 5 %, bugs', poison: { part: 0.05, as: 'bug' } },
  { ...base, name: 'poison 20 %, bugs', poison: { part: 0.2, as: 'bug' } },
  { ...base, name: 'poison 5 %, looks like an outage', poison: { part: 0.05, as: 'outage' } },
  { ...base, name: 'poison 35 %, looks like an outage', poison: { part: 0.35, as: 'outage' } },
  { ...base, perSecond: 20, name: 'burst of 20 bugs', burst: { count: 20, as: 'bug' } },
  { ...base, perSecond: 20, name: 'burst of 64, looks like an outage', burst: { count: 64, as: 'outage' } },
  { ...base, name: 'outage of 60 s', down: (nowMs) => Number(minute(nowMs)) },
  { ...base, perSecond: 1, name: 'outage of 60 s at 1/s', down: (nowMs) => Number(minute(nowMs)) },
  { ...base, name: 'brownout, 30 % fail for 60 s', down: (nowMs) => (minute(nowMs) ? 0.3 : 0) },
  { ...base, name: 'brownout, 80 % fail for 60 s', down: (nowMs) => (minute(nowMs) ? 0.8 : 0) },
  {
    ...{ name: 'flapping: ten times 20 s down, 5 s up', perSecond: 50, arriveMs: 260_000 },
    down: (nowMs) => Number(nowMs >= 5_000 && nowMs < 255_000 && (nowMs - 5_000) % 25_000 < 20_000),
  },
]

const places = 64
const maxAttempts = 5
const afterArrivalsMs = 60_000

/** What the simulation needs of a rule. */
interface Rule {
  readonly isOpen: boolean
  enter(id: string): Call | 'full' | RetryLater
  succeeded(call: Call): void
  threw(call: Call, error: Error): unknown
}

/** What `resilient()` had before: ten failures in a row of any kind open it for 10 s, and every failure is an attempt. */
class InARow implements Rule {
  readonly #now: () => number
  #failed = 0
  #opensAtMs = -Infinity
  #probe: Call | undefined

  constructor(now: () => number) {
    this.#now = now
  }

  get isOpen(): boolean {
    return this.#failed >= 10
  }

  enter(id: string): Call | RetryLater {
    const call: Call = { id, era: 0, answers: 0, isProbe: this.isOpen }
    if (!this.isOpen) return call
    const leftMs = this.#opensAtMs - this.#now()
    if (leftMs > 0 || this.#probe !== undefined) return new RetryLater(Math.max(leftMs, 100), { holds: 'pipeline' })
    this.#probe = call
    return call
  }

  succeeded(call: Call): void {
    if (this.isOpen && call !== this.#probe) return
    this.#failed = 0
    this.#probe = undefined
  }

  threw(call: Call, error: Error): unknown {
    if (this.isOpen && call !== this.#probe) return error
    if (call === this.#probe) this.#probe = undefined
    if (++this.#failed >= 10) this.#opensAtMs = this.#now() + 10_000
    return error
  }
}

interface Message {
  readonly id: string
  readonly bornMs: number
  readonly poison: 'bug' | 'outage' | undefined
  attempts: number
}

interface Counts {
  readonly opens: number
  readonly calls: number
  readonly innocentsDead: number
  readonly slowestMs: number
  readonly left: number
}

function simulate(
  world: World,
  seed: number,
  make: (clock: Clock, random: () => number, changed: () => void) => Rule,
): Counts {
  const random = seeded(seed)
  let nowMs = 0
  // Kept in order by insertion: most are due soon.
  const queue = new Timers()
  const clock: Clock = { now: () => nowMs, wall: () => nowMs, after: (ms, run) => queue.add(nowMs + ms, run) }
  const counts = { opens: 0, calls: 0, innocentsDead: 0, slowestMs: 0 }
  const rule = make(clock, random, () => counts.opens++)
  const ready: Message[] = []
  let [free, haltedTillMs, sent] = [places, 0, 0]
  const exponential = (ms: number): number => -ms * Math.log(1 - random())
  const downNow = (): number => world.down?.(nowMs) ?? 0

  function pump(): void {
    while (free > 0 && ready.length > 0 && nowMs >= haltedTillMs) {
      const message = ready.shift()
      if (message === undefined) return
      const entered = rule.enter(message.id)
      if (entered === 'full') {
        ready.unshift(message)
        return
      }
      if (entered instanceof RetryLater) {
        ready.push(message)
        halt(entered.afterMs)
        return
      }
      free--
      call(message, entered)
    }
  }

  function halt(ms: number): void {
    haltedTillMs = Math.max(haltedTillMs, nowMs + ms)
    queue.add(haltedTillMs, pump)
  }

  function call(message: Message, entered: Call): void {
    const part = downNow()
    const fails = part > 0 && random() < part
    if (part > 0) counts.calls++
    const as = fails ? 'outage' : message.poison
    queue.add(nowMs + (as === undefined ? exponential(50) : 5), () => ended(message, entered, as))
  }

  function ended(message: Message, entered: Call, as: Message['poison']): void {
    if (as === undefined) {
      rule.succeeded(entered)
      counts.slowestMs = Math.max(counts.slowestMs, nowMs - message.bornMs)
      return leave()
    }
    const own = as === 'bug' ? new TypeError('bug') : Object.assign(new Error('down'), { code: 'ECONNREFUSED' })
    const error = rule.threw(entered, own)
    if (error instanceof RetryLater) return later(message, error)
    if (++message.attempts >= maxAttempts) {
      if (message.poison === undefined) counts.innocentsDead++
      return leave()
    }
    // It sleeps in its place, as `retry()` does.
    queue.add(nowMs + random() * 100 * 2 ** (message.attempts - 1), () => again(message))
  }

  function again(message: Message): void {
    const entered = rule.enter(message.id)
    if (entered === 'full') return void queue.add(nowMs + 20, () => again(message))
    if (entered instanceof RetryLater) return later(message, entered)
    call(message, entered)
  }

  function later(message: Message, { holds, afterMs }: RetryLater): void {
    if (holds === 'pipeline') {
      ready.push(message)
      halt(afterMs)
    } else
      queue.add(nowMs + afterMs, () => {
        ready.push(message)
        pump()
      })
    leave()
  }

  function leave(): void {
    free++
    pump()
  }

  function arrive(poison: Message['poison']): void {
    ready.push({ id: `${sent++}`, bornMs: nowMs, poison, attempts: 0 })
    pump()
  }

  function arrivals(): void {
    const { poison } = world
    arrive(poison !== undefined && random() < poison.part ? poison.as : undefined)
    if (nowMs < world.arriveMs) queue.add(nowMs + exponential(1000 / world.perSecond), arrivals)
  }

  queue.add(0, arrivals)
  const { burst } = world
  if (burst !== undefined)
    queue.add(10_000, () => {
      for (let n = 0; n < burst.count; n++) arrive(burst.as)
    })
  const endMs = world.arriveMs + afterArrivalsMs
  for (let next = queue.take(); next !== undefined && next.atMs <= endMs; next = queue.take()) {
    nowMs = Math.max(nowMs, next.atMs)
    next.run()
  }
  return { ...counts, left: ready.filter(({ poison }) => poison === undefined).length }
}

interface Timer {
  readonly atMs: number
  readonly run: () => void
  over: boolean
}

/** A binary heap of what is due. */
class Timers {
  readonly #heap: Timer[] = []

  add(atMs: number, run: () => void): () => void {
    const timer: Timer = { atMs, run, over: false }
    const heap = this.#heap
    let at = heap.push(timer) - 1
    while (at > 0) {
      const above = (at - 1) >> 1
      if (heap[above]!.atMs <= atMs) break
      heap[at] = heap[above]!
      at = above
    }
    heap[at] = timer
    return () => (timer.over = true)
  }

  take(): Timer | undefined {
    for (;;) {
      const first = this.#pop()
      if (first === undefined || !first.over) return first
    }
  }

  #pop(): Timer | undefined {
    const heap = this.#heap
    const [first] = heap
    const last = heap.pop()
    if (last === undefined || heap.length === 0) return first
    let at = 0
    for (;;) {
      let child = 2 * at + 1
      if (child >= heap.length) break
      if (child + 1 < heap.length && heap[child + 1]!.atMs < heap[child]!.atMs) child++
      if (heap[child]!.atMs >= last.atMs) break
      heap[at] = heap[child]!
      at = child
    }
    heap[at] = last
    return first
  }
}

function chosen(clock: Clock, random: () => number, opened: () => void): Rule {
  const terms = {
    ...{ name: 'd', openAfter: 10, looksDown: dependencyErrors, openMs: 1_000, maxOpenMs: 5_000, maxRamp: 64 },
    ...{ probeTimeoutMs: 10_000, observe: false, clock, random },
  }
  const circuit = new LocalCircuit(terms, null, ({ from, to }) => from === 'closed' && to === 'open' && opened())
  return {
    get isOpen() {
      return circuit.state !== 'closed'
    },
    enter(id) {
      const entered = circuit.enter(id)
      if (entered === 'ask' || entered === 'hear') throw new Error('there is no fleet')
      return entered
    },
    succeeded: (call) => circuit.succeeded(call),
    threw: (call, error) => circuit.threw(call, error, neverAborts),
  }
}

function before(clock: Clock, _random: () => number, opened: () => void): Rule {
  const rule = new InARow(() => clock.now())
  return {
    get isOpen() {
      return rule.isOpen
    },
    enter: (id) => rule.enter(id),
    succeeded: (call) => rule.succeeded(call),
    threw(call, error) {
      const was = rule.isOpen
      const answer = rule.threw(call, error)
      // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- the call may have opened it
      if (!was && rule.isOpen) opened()
      return answer
    },
  }
}

const [seeds = '3', file] = process.argv.slice(2)
const median = (all: readonly number[]): number => {
  const sorted = all.toSorted((a, b) => a - b)
  return sorted[Math.floor((sorted.length - 1) / 2)] ?? NaN
}
const shown = (value: number): string =>
  value >= 100 ? Math.round(value).toLocaleString('en') : `${+value.toFixed(1)}`
const rows = worlds.map((world) => {
  const cells = [before, chosen].map((make) => {
    const all = Array.from({ length: Number(seeds) }, (_, n) => simulate(world, n * 7919 + 13, make))
    const cell = (of: (counts: Counts) => number): string => {
      const values = all.map(of)
      const [middle, most] = [shown(median(values)), shown(Math.max(...values))]
      return middle === most ? middle : `${middle} (${most})`
    }
    // A backlog that only grows: nothing of it is a slowest message.
    const stops = median(all.map(({ left }) => left)) > 500
    return [
      cell(({ opens }) => opens),
      world.down === undefined ? '–' : cell(({ calls }) => calls),
      cell(({ innocentsDead }) => innocentsDead),
      stops ? '**stops**' : `${cell(({ slowestMs }) => slowestMs / 1000)} s`,
    ]
  })
  return `| ${world.name} | ${cells.flat().join(' | ')} |`
})
const table = [
  '| world | opens: before | calls | innocents dead | slowest good message | opens: now | calls | innocents dead | slowest good message |',
  '| --- | --- | --- | --- | --- | --- | --- | --- | --- |',
  ...rows,
].join('\n')
console.log(table)
if (file !== undefined)
  await writeFormatted(
    join(import.meta.dirname, '../..', file),
    `# The rule of the circuit, simulated

Written by \`node scripts/measure/circuit-simulation.ts ${seeds} ${file}\`. The code of \`circuitBreaker()\` runs in virtual time: ${places} places, ${maxAttempts} attempts, ${seeds} seeds for each row, of which the median stands there, and the most in parentheses where it is another. Before: ten failures in a row of any kind opened the circuit for 10 s, and every failure was an attempt. Calls: those that went to a dependency while it was down. **Stops**: the backlog only grows.

${table}

What is worse than before:

- In a brownout of 80 % the circuit closes sooner and tries more: the dependency gets many more calls, and an innocent may die.
- Where the dependency flaps, calls are let through slowly in each good spell (the ramp), so the backlog waits for longer.
- In a brownout of 30 % the slowest good message takes longer: fewer innocents die, since a failure that may be the dependency's is no attempt and comes again later.
- An outage costs some more calls, since the windows are shorter. At 1/s it takes ten messages to open it, and none of them is lost for it.
- A message that fails by itself, and looks like an outage, is not dead-lettered while nothing else is answered: it waits.
`,
  )
