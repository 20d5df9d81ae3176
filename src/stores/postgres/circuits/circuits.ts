import { checkOptions, ms, text } from '../../../core/options.ts'
import type { CircuitAnswer, CircuitExchange, CircuitLine, Circuits } from '../../../retry/store.ts'
import { quotedSchema } from '../identifiers.ts'
import { checkPool, type Queryable } from '../queryable.ts'
import { flagField, numberField, textField } from '../rows.ts'
import { sharedRows } from '../shared-rows.ts'
import { circuitStatements } from './statements.ts'

export interface PostgresCircuitsOptions {
  /** The schema in which `migrate()` made the tables. @defaultValue `'holdfast'` */
  readonly schema?: string
  /** Interval of a process's reports in ms while it makes calls. @defaultValue 5_000 */
  readonly beatMs?: number
}

const where = 'postgresCircuits'
const mostListed = 10_000

/**
 * Shares circuits in PostgreSQL: one row and one statement per circuit. It works behind pgbouncer in transaction mode. A
 * report costs a small write, so processes report every 5 s, and at once after a failure.
 */
export function postgresCircuits(pool: Queryable, options: PostgresCircuitsOptions = {}): Circuits {
  const { schema = 'holdfast', beatMs = 5_000 } = checkOptions(where, options, { schema: text, beatMs: ms() })
  checkPool(where, pool)
  const { exchangeSql, createSql, listSql, cleanSql } = circuitStatements(quotedSchema(where, schema))
  const { run, clean } = sharedRows({ pool, where, schema, cleanSql })

  return {
    name: 'postgresql',
    beatMs,
    async exchange(circuit, exchange) {
      const values = valuesOf(circuit, exchange)
      let [row] = await run(exchangeSql, values)
      if (row === undefined) {
        await run(createSql, [circuit])
        ;[row] = await run(exchangeSql, values)
      }
      clean()
      return answerFrom(row)
    },
    async list() {
      return (await run(listSql, [mostListed])).map(lineFrom)
    },
  }
}

function valuesOf(
  circuit: string,
  { do: what, result = 'nothing', owner, known, sight, rules }: CircuitExchange,
): unknown[] {
  return [
    ...[circuit, owner, what, result, String(known.epoch), known.state, known.leftMs],
    ...[sight.vote, sight.bad, sight.badAgeMs, sight.answerAgeMs],
    ...[rules.openAfter, rules.openMs, rules.maxOpenMs, rules.leaseMs, crypto.randomUUID()],
  ]
}

function answerFrom(row: unknown): CircuitAnswer {
  return {
    state: stateOf(row),
    epoch: numberField(row, 'epoch'),
    leftMs: numberField(row, 'left_ms'),
    granted: flagField(row, 'granted'),
    prober: textField(row, 'prober'),
  }
}

function lineFrom(row: unknown): CircuitLine {
  return {
    name: textField(row, 'name') ?? '',
    state: stateOf(row),
    epoch: numberField(row, 'epoch'),
    leftMs: numberField(row, 'left_ms'),
    prober: textField(row, 'prober'),
    processes: numberField(row, 'voters'),
    openVotes: numberField(row, 'open_votes'),
  }
}

function stateOf(row: unknown): CircuitAnswer['state'] {
  const state = textField(row, 'state')
  return state === 'open' || state === 'half-open' ? state : 'closed'
}
