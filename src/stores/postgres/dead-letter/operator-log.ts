import { checkArgument, count } from '../../../core/options.ts'
import type { LetterOperations, OperatorAct } from '../../../dead-letter/store.ts'
import { numberField, textField } from '../rows.ts'
import type { LetterContext } from './context.ts'
import { isLetterId } from './filter.ts'
import { storable, storableJson } from './rows.ts'

/** What operators did, for those who ask later. */
export function operatorLog({ run, ask, quoted }: LetterContext): Pick<LetterOperations, 'log' | 'note'> {
  return {
    async log({ limit = 100, before } = {}) {
      checkArgument('log', 'limit', limit, count())
      const { rows } = await ask(
        // By the column, not by its text of the same name: 9 comes before 10.
        `select id::text, extract(epoch from at)::float8 * 1000 as at_ms, by, act, letter::text, redrive::text, detail::text
from ${quoted}.operator_log l where id < $1::bigint order by l.id desc limit $2`,
        [before !== undefined && isLetterId(before) ? before : '9223372036854775807', limit],
      )
      return rows.map(actFrom)
    },
    async note({ by, act: what, letter: about, detail }) {
      await run(`insert into ${quoted}.operator_log (by, act, letter, detail) values ($1, $2, $3::bigint, $4::jsonb)`, [
        storable(by),
        storable(what),
        about ?? null,
        detail === undefined ? null : storableJson(detail),
      ])
    },
  }
}

function actFrom(row: unknown): OperatorAct {
  const detail = textField(row, 'detail')
  return {
    id: textField(row, 'id') ?? '',
    atMs: numberField(row, 'at_ms'),
    by: textField(row, 'by') ?? '',
    act: textField(row, 'act') ?? '',
    letter: textField(row, 'letter'),
    redrive: textField(row, 'redrive'),
    detail: detail === null ? null : (JSON.parse(detail) as unknown),
  }
}
