import { systemClock, type Clock } from '../core/clock.ts'
import { checkOptions, clockKind, having, ms, required, text } from '../core/options.ts'
import { pipeline, type Pipeline } from '../core/pipeline.ts'
import type { Publisher } from '../core/publisher.ts'
import { readDeadLetter } from './envelope.ts'

export interface ImportDeadLettersOptions {
  /** The store that is to keep them: `postgresDeadLetters(pool)`. */
  readonly to: Publisher
  /**
   * Letters that died longer ago are passed over. No longer than the store keeps what is final: only so can it know that a
   * letter was resolved or dropped. @defaultValue 30 days
   */
  readonly maxAgeMs?: number
  /** @defaultValue `'holdfast.import-dead-letters'` */
  readonly name?: string
  readonly clock?: Clock
}

/**
 * A pipeline that takes dead letters from a topic or queue into a store; run it on any transport. A letter that comes twice
 * is kept once. What is no dead letter, or too old, is passed over.
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
