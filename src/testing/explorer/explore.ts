import { appendFileSync, existsSync, readFileSync } from 'node:fs'
import { badOption, requireCount, requireText } from '../../core/options.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import { ambient } from '../world/ambient.ts'
import { boring, replaying } from './choosers.ts'
import type { Effects } from '../effects.ts'
import { search } from './explorer.ts'
import { allFaults, isFault, type Fault } from '../world/faults.ts'
import { invariantsFrom, type Invariant, type InvariantName } from '../world/invariants.ts'
import { replayReport, report } from './report.ts'
import { fromLine, toLine } from './schedule.ts'
import { jsonWire } from './wire.ts'
import { shrink } from './shrink.ts'
import { runSchedule, type Kit, type Run, type Scenario } from '../world/world.ts'

/** No functions. */
type None = Record<never, never>

export interface ExploreOptions<E extends Effects = Effects, R extends Effects = None> {
  /** Builds the pipeline of one simulated process. A crash loses what that process keeps in memory. */
  readonly pipeline: (kit: Kit<E, R>) => Pipeline<never>
  /** The name in errors. @defaultValue the pipeline's name */
  readonly name?: string
  /** Functions that change the world, or a function that makes new ones for each run. @defaultValue none */
  readonly effects?: E | (() => E)
  /** Functions that only read. They may be repeated; `once` does not count them. @defaultValue none */
  readonly reads?: R | (() => R)
  /**
   * The body of the message with that number, counted from 1: bytes, or anything that JSON can write.
   * It travels as bytes. A pipeline that decodes gets those bytes; without `.decode()` the handler gets a copy of what
   * this function returned. @defaultValue `{ id: 'm1', number: 1 }`
   */
  readonly body?: (number: number) => unknown
  /** Number of schedules to try. @defaultValue 1_000 */
  readonly seeds?: number
  /** @defaultValue 1 */
  readonly firstSeed?: number
  /** Longest search in ms. Shrinking a failure takes at most half of that in addition. @defaultValue no limit */
  readonly budgetMs?: number
  /** @defaultValue 4 */
  readonly messages?: number
  /** Number of different keys of the messages. @defaultValue 2 */
  readonly keys?: number
  /** @defaultValue 2 */
  readonly consumers?: number
  /** @defaultValue 2 */
  readonly partitions?: number
  /** Consumer groups. Each gets every message. `kit.group` is the group of a pipeline. @defaultValue one */
  readonly groups?: readonly string[]
  /** @defaultValue all; `poison` only if the pipeline has a dead letter */
  readonly faults?: readonly Fault[]
  /** @defaultValue all that apply: `once` with `effects` or a transaction, `one-fate` with a transaction */
  readonly invariants?: readonly (InvariantName | Invariant)[]
  /** Runs only this schedule: the line that a failure prints. */
  readonly replay?: string
  /** A file of such lines. They run first; a new failure is added. */
  readonly seedFile?: string
}

/** What was tried, when nothing was found. */
export interface Explored {
  readonly schedules: number
  readonly steps: number
  readonly seconds: number
  /** Messages whose handler waited for something outside the simulation. A replay may differ. */
  readonly leftSimulation: readonly string[]
  /** Faults of a replayed line whose place never came up. The schedule is not the same any more. */
  readonly missed: readonly string[]
}

/** A schedule breaks an invariant. The message shows the schedule and how to replay it. */
export class ResilienceError extends Error {
  override readonly name = 'ResilienceError'
  readonly invariant: string
  /** The line that replays it. */
  readonly replay: string
  constructor(message: string, invariant: string, replay: string) {
    super(message)
    this.invariant = invariant
    this.replay = replay
    // Where it was thrown says nothing; what happened does.
    this.stack = `${this.name}: ${message}`
  }
}

/**
 * Runs the pipeline many times in a small simulated world, each time in another order and with other faults. It checks that
 * the invariants hold.
 * @throws ResilienceError with the shortest schedule that breaks one.
 */
export async function explore<E extends Effects = Effects, R extends Effects = None>(
  options: ExploreOptions<E, R>,
): Promise<Explored> {
  const { seeds = 1_000, firstSeed = 1, budgetMs = Infinity, replay, seedFile } = options
  const real = ambient()
  try {
    const scenario = await scenarioOf(options)
    if (replay !== undefined) return await replayLine(scenario, replay)
    for (const line of linesOf(seedFile)) await replayLine(scenario, line)
    const result = await search(scenario, { seeds, firstSeed, budgetMs })
    const { found, schedules, steps, seconds, left } = result
    if (found === undefined) return { schedules, steps, seconds, leftSimulation: [...left], missed: [] }
    const invariant = found.run.simulation.violation?.invariant ?? ''
    const shrunk = await shrink(scenario, found.deviations, invariant, budgetMs / 2)
    const line = toLine(shrunk.schedule)
    if (seedFile !== undefined) appendFileSync(seedFile, `${line}\n`)
    throw failure(report(scenario.name, { found, schedules }, shrunk), shrunk.run, line)
  } finally {
    real()
  }
}

/** Runs one schedule, and fails as the search that found it did. */
async function replayLine(scenario: Scenario, line: string): Promise<Explored> {
  const schedule = fromLine(line)
  const startedMs = performance.now()
  const run = await runSchedule({ ...scenario, size: schedule.size }, replaying(schedule.deviations), { record: true })
  const { violation, steps, left, deviations } = run.simulation
  if (violation !== undefined) throw failure(replayReport(scenario.name, { schedule, run, replays: 0 }), run, line)
  const seconds = (performance.now() - startedMs) / 1000
  const struck = new Set(deviations.map(({ do: what, at }) => `${what} ${at}`))
  const faults = schedule.deviations.filter(({ do: what }) => what !== 'run' && what !== 'hold')
  const missed = faults.map(({ do: what, at }) => `${what} ${at}`).filter((name) => !struck.has(name))
  return { schedules: 1, steps, seconds, leftSimulation: [...left], missed }
}

function failure(message: string, { simulation }: Run, line: string): ResilienceError {
  return new ResilienceError(message, simulation.violation?.invariant ?? '', line)
}

function linesOf(seedFile: string | undefined): readonly string[] {
  if (seedFile === undefined || !existsSync(seedFile)) return []
  return readFileSync(seedFile, 'utf8')
    .split('\n')
    .filter((line) => line.trim() !== '' && !line.startsWith('#'))
}

/** Checks the options and fills in what depends on the pipeline. */
export async function scenarioOf<E extends Effects, R extends Effects = None>({
  pipeline,
  name,
  effects,
  reads,
  body = (number) => ({ id: `m${number}`, number }),
  seeds,
  messages = 4,
  keys = 2,
  consumers = 2,
  partitions = 2,
  groups = ['orders'],
  faults,
  invariants,
}: ExploreOptions<E, R>): Promise<Scenario> {
  requireCount('explore', { seeds, messages, keys, consumers, partitions })
  requireText('explore', { name })
  if (typeof pipeline !== 'function') throw badOption('explore', 'pipeline', 'a function that builds one', pipeline)
  for (const fault of faults ?? [])
    if (!isFault(fault)) throw badOption('explore', 'faults', `made of ${allFaults.join(', ')}`, fault)
  const wire = jsonWire()
  const built: Pipeline<never>[] = []
  const scenario: Scenario = {
    name: name ?? '',
    size: { messages, consumers, partitions },
    keys,
    groups,
    faults: [],
    invariants: [],
    body: (number) => wire.write(body(number)),
    begin() {
      const [mine, seen] = [own(effects), own(reads)]
      const shared = Object.keys(mine).find((call) => Object.hasOwn(seen, call))
      if (shared !== undefined) throw badOption('explore', 'reads', 'named otherwise than the effects', shared)
      return (equipment, travel) => {
        const one = pipeline({ ...equipment, effects: travel(mine, 'effect'), reads: travel(seen, 'read') })
        if (built.length === 0) built.push(one)
        return wire.reader(one)
      }
    },
  }
  await runSchedule({ ...scenario, size: { ...scenario.size, messages: 0 } }, boring)
  const [first] = built
  const stages = new Set(first?.stages.map((stage) => stage.name))
  const defaults: InvariantName[] = ['no-loss', 'key-order', 'bounded-attempts', 'acked-settled', 'drained']
  if (effects !== undefined || stages.has('transaction')) defaults.push('once')
  // What happens outside the transaction can happen, and its message still fail for good.
  if (stages.has('dead-letter') && stages.has('transaction')) defaults.push('one-fate')
  if (stages.has('idempotency')) defaults.push('live-lease', 'one-at-a-time')
  return {
    ...scenario,
    name: name ?? first?.name ?? 'pipeline',
    faults: faults ?? allFaults.filter((fault) => fault !== 'poison' || stages.has('dead-letter')),
    invariants: invariantsFrom('explore', invariants ?? [...defaults, 'no-start-after-abort']),
  }
}

function own<F extends Effects>(functions: F | (() => F) | undefined): F {
  // Without any there is nothing that could be missing from it.
  return typeof functions === 'function' ? functions() : (functions ?? ({} as F))
}
