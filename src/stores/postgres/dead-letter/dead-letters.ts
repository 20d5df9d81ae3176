import type { Bytes, Message } from '../../../core/message.ts'
import { callback, checkArgument, checkOptions, count, having, ms, objects, text } from '../../../core/options.ts'
import type { DeadLetter } from '../../../dead-letter/envelope.ts'
import { foldOf } from '../../../dead-letter/fold.ts'
import type { DeadLetterStore, LetterOperations, RedriveStore, ResolvedLetter } from '../../../dead-letter/store.ts'
import { quotedSchema } from '../identifiers.ts'
import { bodies as bodiesOf, type BodyEncryption } from './bodies.ts'
import { letterChanges } from './changes.ts'
import { operatorLog } from './operator-log.ts'
import { letterQuestions } from './questions.ts'
import { redriveOperations } from './redrives.ts'
import { defaultFingerprint, rowOf } from './rows.ts'
import { bounded, runner, type OperatorPool } from './run.ts'
import { buried, letterStatements } from './statements.ts'
import { letterUpkeep } from './upkeep.ts'

export interface PostgresDeadLettersOptions {
  /** Where `migrate()` made the tables. @defaultValue `'holdfast'` */
  readonly schema?: string
  /** Returns the person that a message is about, for `erase({ subject })`. @defaultValue nobody */
  readonly subject?: (letter: DeadLetter) => string | null | undefined
  /** Returns the group of a letter. @defaultValue a digest of pipeline, error name, code and the shape of the message */
  readonly fingerprint?: (letter: DeadLetter) => string
  /** Encrypts bodies at rest. @defaultValue they are stored as they are */
  readonly encryption?: BodyEncryption
  /** How long resolved, replaced and dropped letters are kept, in ms. @defaultValue 30 days */
  readonly retainMs?: number
  /** How long dead letters are kept, in ms. @defaultValue for ever */
  readonly retainDeadMs?: number
  /** Longest query of an operator in ms. @defaultValue 15_000 */
  readonly questionMs?: number
  /** Most letters that one statement cleans up, encrypts or regroups. @defaultValue 1000 */
  readonly batchSize?: number
}

/** Stores dead letters, serves operators, and gives letters to redrive workers. */
export interface PostgresDeadLetters extends DeadLetterStore, RedriveStore, LetterOperations {
  resolved(letters: readonly ResolvedLetter[]): Promise<void>
}

const where = 'postgresDeadLetters'

/**
 * Keeps dead letters in a table: `deadLetter({ to: postgresDeadLetters(pool) })`. It works outside the handler's
 * transaction, which is rolled back by then. A message that comes twice with the same content is one letter.
 */
export function postgresDeadLetters(pool: OperatorPool, options: PostgresDeadLettersOptions = {}): PostgresDeadLetters {
  checkArgument(where, 'pool', pool, having('query'))
  const {
    schema = 'holdfast',
    subject = () => null,
    fingerprint = defaultFingerprint,
    encryption,
    retainMs = 30 * 86_400_000,
    retainDeadMs,
    questionMs = 15_000,
    batchSize = 1000,
  } = checkOptions(where, options, {
    schema: text,
    subject: callback,
    fingerprint: callback,
    encryption: objects,
    retainMs: ms(),
    retainDeadMs: ms(),
    questionMs: ms(),
    batchSize: count(),
  })
  const quoted = quotedSchema(where, schema)
  const bodies = bodiesOf(where, encryption)
  const run = runner(pool, where, schema)
  const ask = bounded(pool, where, schema, questionMs)
  const { bury, resolve, diedAgain } = letterStatements(quoted)
  const context = {
    run,
    ask,
    quoted,
    bodies,
    subject,
    fingerprint,
    retainMs,
    retainDeadMs: retainDeadMs ?? null,
    batchSize,
  }

  const questions = letterQuestions(context)

  async function publish(messages: readonly Message<Bytes>[]): Promise<void> {
    // One row cannot be written twice by one statement: of the same letter the last one counts.
    const rows = new Map(
      messages.map((message) => [message, rowOf(message, context)] as const).map(([, row]) => [row.fold, row]),
    )
    if (rows.size === 0) return
    const all = [...rows.values()]
    await run(
      bury,
      buried.map(([name]) => all.map((row) => row[name])),
    )
  }

  return {
    publish,
    async resolved(letters) {
      if (letters.length === 0) return
      await run(resolve, [letters.map(foldOf), letters.map(({ generation }) => generation)])
    },
    async diedAgain(letter, generation) {
      await run(diedAgain, [letter, generation])
    },
    ...questions,
    ...letterChanges(context, questions.letter),
    ...letterUpkeep(context),
    ...operatorLog(context),
    ...redriveOperations(context),
  }
}
