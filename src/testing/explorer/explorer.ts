import { alternatives, boring, replaying, seeded } from './choosers.ts'
import type { Deviation } from './schedule.ts'
import type { Task } from '../world/task.ts'
import { runSchedule, type Run, type Scenario } from '../world/world.ts'

export interface Found {
  /** 0 for the boring run. */
  readonly seed: number
  readonly run: Run
  readonly deviations: readonly Deviation[]
}

export interface Search {
  readonly found: Found | undefined
  readonly schedules: number
  readonly steps: number
  readonly seconds: number
  /** Messages whose handler waited for something outside the simulation. */
  readonly left: ReadonlySet<string>
}

export interface SearchOptions {
  readonly firstSeed?: number
  readonly seeds?: number
  readonly budgetMs?: number
  readonly onRun?: (run: Run) => void
}

/** The boring run first, then one run for every seed, until one is wrong. */
export async function search(
  scenario: Scenario,
  { firstSeed = 1, seeds = 1_000, budgetMs = Infinity, onRun = () => {} }: SearchOptions = {},
): Promise<Search> {
  const tally = tallied()
  const first = tally.count(await runSchedule(scenario, boring))
  onRun(first)
  if (first.simulation.violation !== undefined) return tally.search({ seed: 0, run: first, deviations: [] })
  const { choices } = first.simulation
  for (let seed = firstSeed; seed < firstSeed + seeds && tally.elapsedMs() < budgetMs; seed++) {
    const run = tally.count(await runSchedule(scenario, seeded(seed, scenario.faults, choices)))
    onRun(run)
    if (run.simulation.violation !== undefined)
      return tally.search({ seed, run, deviations: [...run.simulation.deviations] })
  }
  return tally.search(undefined)
}

export interface ExhaustOptions {
  /** Gives up after so many runs. */
  readonly limit?: number
  /** Says when to give up. */
  readonly over?: () => boolean
  /** Only this invariant counts. */
  readonly invariant?: string
}

/** Every schedule with at most so many deviations, those with the fewest first. */
export async function exhaust(
  scenario: Scenario,
  depth: number,
  { limit = Infinity, over = () => false, invariant }: ExhaustOptions = {},
): Promise<Search> {
  const tally = tallied()
  let frontier: (readonly Deviation[])[] = [[]]
  for (let deep = 0; deep <= depth; deep++) {
    const next: (readonly Deviation[])[] = []
    for (const deviations of frontier) {
      if (tally.schedules() >= limit || over()) return tally.search(undefined)
      const branches: Deviation[] = []
      const run = tally.count(await runSchedule(scenario, branching(deviations, branches)))
      const { violation } = run.simulation
      if (violation !== undefined && (invariant === undefined || violation.invariant === invariant))
        return tally.search({ seed: 0, run, deviations: [...run.simulation.deviations] })
      if (violation === undefined && deep < depth) for (const one of branches) next.push([...deviations, one])
    }
    frontier = next
  }
  return tally.search(undefined)

  /** Replays, and notes what else could be done after the last deviation. */
  function branching(deviations: readonly Deviation[], branches: Deviation[]) {
    const inner = replaying(deviations)
    let struck = 0
    return {
      pick: (tasks: readonly Task[]) => inner.pick(tasks),
      fault(task: Task, choices: number): Deviation | undefined {
        const deviation = inner.fault(task, choices)
        if (deviation !== undefined) struck++
        else if (struck === deviations.length) branches.push(...alternatives(task, scenario.faults))
        return deviation
      },
    }
  }
}

function tallied() {
  const startedMs = performance.now()
  const left = new Set<string>()
  let schedules = 0
  let steps = 0
  return {
    schedules: () => schedules,
    elapsedMs: () => performance.now() - startedMs,
    count(run: Run): Run {
      schedules++
      steps += run.simulation.steps
      for (const id of run.simulation.left) left.add(id)
      return run
    },
    search: (found: Found | undefined): Search => ({
      found,
      schedules,
      steps,
      seconds: (performance.now() - startedMs) / 1000,
      left,
    }),
  }
}
