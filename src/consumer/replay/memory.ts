import { factsOf } from '../../core/describe.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import { countIn, type ReplayRange } from './ranges.ts'
import type { ReplayLog } from './replay-log.ts'
import { refused, type ReplayOptions } from './options.ts'

export interface MemoryOptions extends Pick<ReplayOptions, 'runAgain' | 'oldestKeyMs'> {
  readonly pipeline: Pipeline
  /** Whether the replay itself has a scope of its own: then only what comes again beyond it needs its old keys. */
  readonly isOwn: boolean
  readonly atMs: number
}

export interface Remembered {
  /** Messages of the ranges that are young enough for their keys to be remembered. */
  readonly messages: number
  readonly warnings: readonly string[]
}

/** Knows which messages of the ordinary scope are still known as duplicates. */
export class Memory {
  readonly #log: ReplayLog
  readonly #options: MemoryOptions

  constructor(log: ReplayLog, options: MemoryOptions) {
    this.#log = log
    this.#options = options
  }

  /**
   * Refuses ranges whose messages would be handled again unasked. Gives what is worth knowing.
   * A key is remembered for at least `retainMs` after its message was produced.
   */
  async check(ranges: readonly ReplayRange[]): Promise<Remembered> {
    const { pipeline, isOwn, runAgain = false } = this.#options
    const coming = ranges.filter(({ from, stood }) => from < stood)
    if (coming.length === 0) return { messages: 0, warnings: [] }
    // What comes again in the ordinary scope needs its old keys.
    const needing = coming
      .map(({ name, from, to, stood }) => ({ name, from: isOwn ? to : from, stood }))
      .filter(({ from, stood }) => from < stood)
    const { store, retainMs } = factsOf(pipeline.stages)
    if (store === undefined || retainMs === undefined)
      return {
        messages: 0,
        warnings: needing.length === 0 ? [] : this.#forgotten(runAgain, noIdempotency(pipeline.name)),
      }
    const sinceMs = await this.#rememberedSince(retainMs)
    const known = await this.#log.positionsAt(sinceMs)
    const oldestOf = ({ name, stood }: Pick<ReplayRange, 'name' | 'stood'>): number =>
      Math.min(known.get(name) ?? stood, stood)
    const counts = coming.map((range) =>
      countIn(this.#log, range.name, Math.max(range.from, oldestOf(range)), range.stood),
    )
    const messages = (await Promise.all(counts)).reduce((sum, each) => sum + each, 0)
    const past = needing.flatMap((range) => {
      const oldest = oldestOf(range)
      const { name, from } = range
      return from < oldest ? [`${name} would go back to ${from}, and is remembered from ${oldest} on`] : []
    })
    const warnings = [
      ...(past.length > 0 ? this.#forgotten(runAgain, tooFar(sinceMs, past)) : []),
      ...(store === 'memory' && needing.length > 0
        ? ['the keys are in the memory of one process: after its end nothing is a duplicate']
        : []),
    ]
    return { messages, warnings }
  }

  #forgotten(runAgain: boolean, what: string): readonly string[] {
    if (!runAgain)
      throw refused(`${what}. Replay less, choose a scope of its own, or say runAgain: true to have them handled again`)
    return [`${what}; runAgain was said`]
  }

  async #rememberedSince(retainMs: number): Promise<number> {
    const { pipeline, oldestKeyMs, atMs } = this.#options
    const reckonedMs = atMs - retainMs
    if (oldestKeyMs === undefined) return reckonedMs
    const oldestMs = await oldestKeyMs({ scope: pipeline.name, retainMs })
    return Math.max(reckonedMs, oldestMs ?? atMs)
  }
}

function noIdempotency(name: string): string {
  return `${name} has no idempotency(), so nobody knows a message again: all of them would be handled again`
}

function tooFar(sinceMs: number, past: readonly string[]): string {
  return `keys are remembered from ${new Date(sinceMs).toISOString()} on, and messages before that would be handled again: ${past.join('; ')}`
}
