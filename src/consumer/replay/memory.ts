import { factsOf } from '../../core/describe.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import type { ReplayRange } from './ranges.ts'
import type { ReplayLog } from './replay-log.ts'
import { refused, type ReplayOptions } from './options.ts'

export interface MemoryOptions extends Pick<ReplayOptions, 'runAgain' | 'oldestKeyMs'> {
  readonly pipeline: Pipeline
  /** Whether the replay itself has a scope of its own: then only what comes again beyond it needs its old keys. */
  readonly isOwn: boolean
  readonly atMs: number
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
  async check(ranges: readonly ReplayRange[]): Promise<readonly string[]> {
    const { pipeline, isOwn, runAgain = false } = this.#options
    const needing = ranges
      .map(({ name, from, to, stood }) => ({ name, from: isOwn ? to : from, stood }))
      .filter(({ from, stood }) => from < stood)
    if (needing.length === 0) return []
    const { store, retainMs } = factsOf(pipeline.stages)
    if (store === undefined || retainMs === undefined) return this.#forgotten(runAgain, noIdempotency(pipeline.name))
    const sinceMs = await this.#rememberedSince(retainMs)
    const known = await this.#log.positionsAt(sinceMs)
    const past = needing.flatMap(({ name, from, stood }) => {
      const oldest = Math.min(known.get(name) ?? stood, stood)
      return from < oldest ? [`${name} would go back to ${from}, and is remembered from ${oldest} on`] : []
    })
    if (past.length > 0) return this.#forgotten(runAgain, tooFar(sinceMs, past))
    return store === 'memory' ? ['the keys are in the memory of one process: after its end nothing is a duplicate'] : []
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
