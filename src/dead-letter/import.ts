import { systemClock, type Clock } from '../core/clock.ts'
import { callback, checkOptions, clockKind, having, ms, required, text } from '../core/options.ts'
import { pipeline, type Pipeline } from '../core/pipeline.ts'
import type { Publisher } from '../core/publisher.ts'
import { calledSafely } from '../core/report.ts'
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
  /** Is told of each message that is skipped, and why. @defaultValue nobody */
  readonly onSkip?: (skipped: SkippedImport) => void
  readonly clock?: Clock
}

/** A message that was not imported: it is no dead letter, or it died longer ago than `maxAgeMs`. */
export interface SkippedImport {
  readonly id: string
  readonly why: 'no-dead-letter' | 'too-old'
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
    onSkip,
    clock = systemClock,
  } = checkOptions('importDeadLetters', options, {
    to: required(having('publish')),
    maxAgeMs: ms(),
    name: text,
    onSkip: callback,
    clock: clockKind,
  })
  return pipeline(name).handle(async ({ message, origin, signal }) => {
    const dead = readDeadLetter(message)
    const why =
      dead === undefined ? 'no-dead-letter' : clock.wall() - dead.metadata.timeMs > maxAgeMs ? 'too-old' : undefined
    if (why === undefined) await to.publish([{ ...message, destination: origin.destination }], { signal })
    else if (onSkip !== undefined) calledSafely('importDeadLetters onSkip', onSkip, undefined, { id: message.id, why })
  })
}
