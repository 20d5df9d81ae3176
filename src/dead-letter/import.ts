import { systemClock, type Clock } from '../core/clock.ts'
import { checkOptions, clockKind, having, ms, required, text } from '../core/options.ts'
import { pipeline, type Pipeline } from '../core/pipeline.ts'
import type { Publisher } from '../core/publisher.ts'
import { readDeadLetter } from './envelope.ts'

export interface ImportDeadLettersOptions {
  /** The store that takes the letters: `postgresDeadLetters(pool)`. */
  readonly to: Publisher
  /**
   * Skips letters that died longer ago, in ms. Must not exceed how long the store keeps final letters: otherwise a resolved
   * or dropped letter could come back. @defaultValue 30 days
   */
  readonly maxAgeMs?: number
  /** @defaultValue `'holdfast.import-dead-letters'` */
  readonly name?: string
  readonly clock?: Clock
}

/**
 * A pipeline that imports dead letters from a topic or queue into a store. Run it on any transport. A letter that arrives
 * twice is kept once. Messages that are no dead letters, or too old, are skipped.
 */
export function importDeadLetters(options: ImportDeadLettersOptions): Pipeline {
  const {
    to,
    maxAgeMs = 30 * 86_400_000,
    name = 'holdfast.import-dead-letters',
    clock = systemClock,
  } = checkOptions('importDeadLetters', options, {
    to: required(having('publish')),
    maxAgeMs: ms(),
    name: text,
    clock: clockKind,
  })
  return pipeline(name).handle(async ({ message, origin, signal }) => {
    const dead = readDeadLetter(message)
    if (dead === undefined || clock.wall() - dead.metadata.timeMs > maxAgeMs) return
    await to.publish([{ ...message, destination: origin.destination }], { signal })
  })
}
