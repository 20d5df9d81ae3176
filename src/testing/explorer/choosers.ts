import { faultKinds, type Fault } from '../world/faults.ts'
import { dice, type Deviation } from './schedule.ts'
import type { Chooser, Task } from '../world/task.ts'

/** First come, first served, and nothing goes wrong. */
export const boring: Chooser = { pick: oldest, fault: () => undefined }

// More faults than this in one run hide each other.
const faultsPerRun = 4
// After three times the boring run's length nothing goes wrong any more: what then does not end never would.
const quietAfter = 3

/** Three of four seeds take turns and faults at random; the fourth is boring but for a few deviations. */
export function seeded(seed: number, faults: readonly Fault[], boringLength: number): Chooser {
  const random = dice(Math.imul(seed, 2_654_435_761) ^ 0x5bd1e995)
  return seed % 4 === 3 ? fewDeviations(random, faults, boringLength) : anything(random, faults, boringLength)
}

function anything(random: () => number, faults: readonly Fault[], boringLength: number): Chooser {
  const some = swarm(random, faults, 0.4)
  const rate = Math.min(0.05, faultsPerRun / boringLength)
  return {
    pick: (tasks) => oneOf(random, tasks) ?? oldest(tasks),
    fault(task, choices) {
      if (random() >= rate || choices > quietAfter * boringLength) return undefined
      const fault = oneOf(
        random,
        task.faults.filter((one) => some.includes(one)),
      )
      return fault === undefined ? undefined : drawn(random, task.label, fault)
    },
  }
}

/** Boring but for up to six deviations. Troubles come in pairs: near one another more often than by chance. */
export function fewDeviations(random: () => number, faults: readonly Fault[], boringLength: number): Chooser {
  const places = new Set<number>()
  let last = -1
  let count = 1
  while (count < 6 && random() < 0.5) count++
  for (let i = 0; i < count; i++) {
    const near = last >= 0 && random() < 0.7
    last = near ? last + 1 + Math.floor(random() ** 2 * 24) : Math.floor(random() * boringLength * 1.5)
    places.add(last)
  }
  const kinds = swarm<Fault | 'hold'>(random, ['hold', ...faults], 0.3)
  // The kind is drawn first, then it waits for a place where it can happen: common places do not crowd out rare kinds.
  const due: (Fault | 'hold')[] = []
  let asked = -1
  return {
    pick: oldest,
    fault(task) {
      if (places.has(++asked)) {
        const kind = oneOf(random, kinds)
        if (kind !== undefined) due.push(kind)
      }
      const index = due.findIndex((kind) => (kind === 'hold' ? task.phase !== 'event' : task.faults.includes(kind)))
      const [kind] = index < 0 ? [] : due.splice(index, 1)
      return kind === undefined ? undefined : drawn(random, task.label, kind)
    },
  }
}

/** Swarm testing: a run that leaves most kinds of faults out goes deeper into the others. */
function swarm<Kind>(random: () => number, kinds: readonly Kind[], share: number): readonly Kind[] {
  const some = kinds.filter(() => random() < share)
  return some.length > 0 ? some : kinds
}

function drawn(random: () => number, at: string, what: Fault | 'hold'): Deviation {
  if (what === 'hold') return { at, do: what }
  const { ms, maxSteps } = faultKinds[what]
  const value = ms === undefined ? undefined : oneOf(random, ms)
  return {
    at,
    do: what,
    ...(value !== undefined && { ms: value }),
    ...(maxSteps !== undefined && { steps: Math.floor(random() ** 2 * maxSteps) }),
  }
}

/** Does what a list of deviations says, wherever their places come up; the rest is boring. */
export function replaying(deviations: readonly Deviation[]): Chooser {
  const turns = new Map<string, string>()
  const holds = new Map<string, number>()
  const faults = new Map<string, Deviation[]>()
  for (const deviation of deviations) {
    const { at, do: what, then, steps } = deviation
    if (what === 'run') turns.set(at, then ?? '')
    else if (what === 'hold' && steps !== undefined) holds.set(at, steps)
    else faults.set(at, [...(faults.get(at) ?? []), deviation])
  }
  const isHeld = (task: Task): boolean => (holds.get(task.label) ?? 0) > task.passedOver
  return {
    pick(tasks) {
      const first = oldest(tasks)
      if (holds.size > 0 && isHeld(first)) return tasks.find((task) => !isHeld(task)) ?? first
      const then = turns.get(`${first.label}~${first.passedOver}`)
      return tasks.find((task) => task.label === then) ?? first
    },
    fault: (task) => faults.get(task.label)?.shift(),
  }
}

/** Every single thing that could be done otherwise at a task. */
export function alternatives(task: Task, faults: readonly Fault[]): readonly Deviation[] {
  const at = task.label
  const found: Deviation[] = task.phase === 'event' ? [] : [{ at, do: 'hold' }]
  for (const fault of task.faults) {
    if (!faults.includes(fault)) continue
    const { ms = [undefined], maxSteps } = faultKinds[fault]
    for (const value of ms)
      for (const steps of maxSteps === undefined ? [undefined] : [0, 4])
        found.push({ at, do: fault, ...(value !== undefined && { ms: value }), ...(steps !== undefined && { steps }) })
  }
  return found
}

function oldest(tasks: readonly Task[]): Task {
  const [first] = tasks
  if (first === undefined) throw new RangeError('nothing to choose from')
  return first
}

function oneOf<T>(random: () => number, values: readonly T[]): T | undefined {
  return values[Math.floor(random() * values.length)]
}
