import { boring, fewDeviations, replaying } from './choosers.ts'
import { exhaust } from './explorer.ts'
import { faultKinds } from '../world/faults.ts'
import { dice, type Deviation, type Schedule, type Size } from './schedule.ts'
import { runSchedule, type Run, type Scenario } from '../world/world.ts'

export interface Shrunk {
  readonly schedule: Schedule
  /** The run of that schedule, with every line. */
  readonly run: Run
  readonly replays: number
}

const mostReplays = 3_000
// Counted, not timed: a slow machine finds what a fast one does.
const mostCousins = 1_000
const holdSteps = [1, 2, 3, 5, 8, 13, 21, 34]

/** Leaves out what is not needed to break the same invariant: deviations, messages, consumers, and large numbers. */
export async function shrink(
  scenario: Scenario,
  found: readonly Deviation[],
  invariant: string,
  budgetMs: number = Infinity,
): Promise<Shrunk> {
  const untilMs = performance.now() + budgetMs
  const over = (): boolean => performance.now() > untilMs
  let best = await shrinkOnce(scenario, { size: scenario.size, deviations: found }, invariant, over)
  // What needs many changes of turn often has a short cousin that no leaving out leads to.
  for (const cousin of [sparseCousin, nearestCousin]) {
    if (best.schedule.deviations.length <= 2 || over()) return best
    const { size, deviations } = best.schedule
    const faults = scenario.faults.filter((fault) => found.some((one) => one.do === fault))
    const { deviations: other, replays } = await cousin(
      { ...scenario, size, faults },
      deviations.length,
      invariant,
      over,
    )
    best = { ...best, replays: best.replays + replays }
    if (other === undefined) continue
    const shrunk = await shrinkOnce(scenario, { size, deviations: other }, invariant, over)
    const better = shrunk.schedule.deviations.length < best.schedule.deviations.length ? shrunk : best
    best = { ...better, replays: best.replays + shrunk.replays }
  }
  return best
}

interface Cousin {
  readonly deviations: readonly Deviation[] | undefined
  readonly replays: number
}

/** Looks at random among runs with few deviations, of the kinds that were found. */
async function sparseCousin(
  scenario: Scenario,
  fewerThan: number,
  invariant: string,
  over: () => boolean,
): Promise<Cousin> {
  const { choices } = (await runSchedule(scenario, boring)).simulation
  let deviations: readonly Deviation[] | undefined
  let fewest = fewerThan
  let replays = 1
  for (let seed = 1; seed <= mostCousins && fewest > 2 && !over(); seed++) {
    const { simulation } = await runSchedule(scenario, fewDeviations(dice(seed), scenario.faults, choices))
    replays++
    if (simulation.violation?.invariant !== invariant || simulation.deviations.length >= fewest) continue
    deviations = [...simulation.deviations]
    fewest = deviations.length
  }
  return { deviations, replays }
}

/** Looks at every run with one deviation, then at every run with two. */
async function nearestCousin(
  scenario: Scenario,
  fewerThan: number,
  invariant: string,
  over: () => boolean,
): Promise<Cousin> {
  const depth = Math.min(2, fewerThan - 1)
  const { found, schedules } = await exhaust(scenario, depth, { limit: mostCousins, invariant, over })
  return { deviations: found?.deviations, replays: schedules }
}

async function shrinkOnce(
  scenario: Scenario,
  { size: wholeSize, deviations }: Schedule,
  invariant: string,
  over: () => boolean,
): Promise<Shrunk> {
  let size = wholeSize
  let best = [...deviations]
  let replays = 0

  async function fails(smaller: Size, fewer: readonly Deviation[]): Promise<boolean> {
    if (over()) return false
    replays++
    const { simulation } = await runSchedule({ ...scenario, size: smaller }, replaying(fewer))
    return simulation.violation?.invariant === invariant
  }

  /** Halves first, then quarters, down to one by one. */
  async function leaveOut(): Promise<boolean> {
    let any = false
    for (let chunk = Math.max(1, best.length >> 1); chunk >= 1; chunk >>= 1)
      for (let from = 0; from < best.length;) {
        const fewer = [...best.slice(0, from), ...best.slice(from + chunk)]
        if (await fails(size, fewer)) {
          best = fewer
          any = true
        } else from += chunk
      }
    return any
  }

  async function shrinkSize(): Promise<boolean> {
    for (const smaller of smallerSizes(size))
      if (await fails(smaller, best)) {
        size = smaller
        return true
      }
    return false
  }

  async function tryEach(candidates: readonly (readonly Deviation[])[]): Promise<boolean> {
    for (const candidate of candidates)
      if (await fails(size, candidate)) {
        best = [...candidate]
        return true
      }
    return false
  }

  /** What happened to the fifth message alone, in the second process, can happen to the first in the first. */
  async function renumber(): Promise<boolean> {
    const smaller = { messages: 1, consumers: 1, partitions: 1 }
    const renumbered = best.map((one) => ({
      ...one,
      at: first(one.at),
      ...(one.then !== undefined && { then: first(one.then) }),
    }))
    const isNew = size.messages + size.consumers + size.partitions > 3
    if (!isNew || !(await fails(smaller, renumbered))) return false
    size = smaller
    best = renumbered
    return true
  }

  await leaveOut()
  for (let again = true; again && replays < mostReplays && !over();) {
    again = (await renumber()) || (await shrinkSize())
    if (await leaveOut()) again = true
    for (const task of new Set(best.filter(({ do: what }) => what === 'run').map(taskOf)))
      if (await tryEach(heldInstead(best, task))) again = true
    for (let place = 0; place < best.length; place++) {
      const one = best[place]
      if (one === undefined) continue
      if (await tryEach(simplerThan(one).map((simpler) => best.with(place, simpler)))) again = true
    }
  }
  const run = await runSchedule({ ...scenario, size }, replaying(best), { record: true })
  return { schedule: { size, deviations: best }, run, replays }
}

function smallerSizes(size: Size): readonly Size[] {
  const { messages, consumers, partitions } = size
  const sizes: Size[] = Array.from({ length: messages - 1 }, (_, i) => ({ ...size, messages: i + 1 }))
  if (consumers > 1) sizes.push({ ...size, consumers: consumers - 1 })
  if (partitions > 1) sizes.push({ ...size, partitions: partitions - 1 })
  return sizes
}

/** "Instead of X run Y, instead of X run Z, …" is one idea: X is held for so long. */
function heldInstead(deviations: readonly Deviation[], task: string): readonly (readonly Deviation[])[] {
  const isOne = (one: Deviation): boolean => one.do === 'run' && taskOf(one) === task
  const first = deviations.findIndex(isOne)
  const others = deviations.filter((one) => !isOne(one))
  return holdSteps
    .map((steps) => others.toSpliced(first, 0, { at: task, do: 'hold', steps }))
    .filter(({ length }) => length <= deviations.length)
}

function simplerThan(one: Deviation): readonly Deviation[] {
  const { at, do: what, ms, steps } = one
  if (what === 'run') return [{ at: taskOf(one), do: 'hold' }]
  const fewerSteps =
    steps === undefined ? [] : [0, ...holdSteps].filter((n) => n < steps).map((n) => ({ ...one, steps: n }))
  if (what === 'hold') return fewerSteps.filter((fewer) => fewer.steps > 0)
  const kind = faultKinds[what]
  const simpler = kind.simpler === undefined ? [] : [{ at, do: kind.simpler }]
  const shorter =
    ms === undefined ? [] : (kind.ms ?? []).filter((value) => value < ms).map((value) => ({ ...one, ms: value }))
  return [...simpler, ...fewerSteps, ...shorter]
}

/** A turn is named by the task that had to wait and how often it had. */
function taskOf({ at }: Deviation): string {
  return at.slice(0, at.lastIndexOf('~'))
}

function first(label: string): string {
  return label.replaceAll(/\bm\d+\b/g, 'm1').replace(/^[A-Z](?=[′.])/, 'A')
}
