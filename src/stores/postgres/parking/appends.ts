import { claimName } from '../../../core/stored-key.ts'
import type { Appended, AppendRequest, ParkingStore } from '../../../ordering/parking/store.ts'
import { apart, batcher, type Reply } from '../../batcher.ts'
import { isLockTimeout, mayBeOneRow } from '../failures.ts'
import type { RunStatement } from '../queryable.ts'
import { numberField, textField } from '../rows.ts'
import { base64 } from './bytes.ts'

type Run = readonly AppendRequest[]
type RunAnswers = readonly Appended[]

export interface AppendsOptions {
  readonly run: RunStatement
  readonly appendSql: string
  readonly lockTimeout: string
  /** Most messages in one statement, unless one run alone has more. */
  readonly maxBatch: number
  readonly maxInFlight: number
}

/** Runs of messages for their lanes: those of many lanes travel together, and each stays in one statement. */
export function postgresAppends({
  run,
  appendSql,
  lockTimeout,
  maxBatch,
  maxInFlight,
}: AppendsOptions): ParkingStore['append'] {
  async function send(runs: readonly Run[]): Promise<readonly RunAnswers[]> {
    const asked = runs.flatMap((messages, at) => messages.map((message) => ({ ...message, at })))
    const rows = await run(appendSql, [
      asked.map((_, n) => n),
      asked.map(({ at }) => at),
      asked.map(({ pipeline }) => pipeline),
      asked.map(({ lane }) => lane),
      asked.map(({ scope }) => scope),
      asked.map(({ key }) => key),
      asked.map(({ generation }) => generation),
      asked.map(({ fingerprint }) => fingerprint),
      asked.map(({ keyText }) => keyText),
      asked.map(({ envelope }) => base64(envelope)),
      asked.map(({ body }) => base64(body)),
      asked.map(({ cap }) => cap),
      lockTimeout,
    ])
    const said: Appended[] = asked.map(() => 'again')
    for (const row of rows) said[numberField(row, 'n')] = appended(textField(row, 'said'))
    const answers = runs.map((): Appended[] => [])
    asked.forEach(({ at }, n) => answers[at]?.push(said[n] ?? 'again'))
    return answers
  }

  const sendApart = apart(send, mayBeOneRow, (error): RunAnswers | undefined =>
    // A run of several messages is then asked for one by one.
    isLockTimeout(error) ? ['again'] : undefined,
  )

  async function sendAll(runs: readonly Run[]): Promise<readonly Reply<RunAnswers>[]> {
    const answers: Reply<RunAnswers>[] = []
    for (const some of statementsOf(runs, maxBatch)) answers.push(...(await sendApart(some)))
    return answers
  }

  const ask = batcher<Run, RunAnswers>({ send: sendAll, maxBatch, maxInFlight })
  return async (messages) => (messages.length === 0 ? [] : ask(messages))
}

/** A repeat of a message travels in the next statement: in the same one it would take the later place. */
function statementsOf(runs: readonly Run[], maxBatch: number): readonly (readonly Run[])[] {
  const statements: Run[][] = []
  let names = new Set<string>()
  for (const messages of runs) {
    const more = messages.map(claimName)
    const current = statements.at(-1)
    if (current === undefined || names.size + more.length > maxBatch || more.some((name) => names.has(name))) {
      statements.push([messages])
      names = new Set(more)
    } else {
      current.push(messages)
      for (const name of more) names.add(name)
    }
  }
  return statements
}

function appended(said: string | null): Appended {
  return said === 'appended' || said === 'known' || said === 'full' ? said : 'again'
}
