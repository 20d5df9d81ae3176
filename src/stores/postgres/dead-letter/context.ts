import type { DeadLetter } from '../../../dead-letter/envelope.ts'
import type { Bodies } from './bodies.ts'
import type { Run } from './run.ts'

/** What every part of the store works with. */
export interface LetterContext {
  readonly run: Run
  /** For questions: each has an end. */
  readonly ask: Run
  readonly quoted: string
  readonly bodies: Bodies
  readonly fingerprint: (letter: DeadLetter) => string
  readonly retainMs: number
  readonly retainDeadMs: number | null
  readonly batchSize: number
}
