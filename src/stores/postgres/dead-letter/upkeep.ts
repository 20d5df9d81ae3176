import { isFailureReason } from '../../../core/errors.ts'
import type { DeadLetter } from '../../../dead-letter/envelope.ts'
import { fingerprintVersion } from '../../../dead-letter/fingerprint.ts'
import type { Letter, LetterOperations } from '../../../dead-letter/store.ts'
import { field, textField } from '../rows.ts'
import type { LetterContext } from './context.ts'
import { live } from './questions.ts'
import { letterColumns, letterFrom, storable } from './rows.ts'

type Upkeep = Pick<LetterOperations, 'clean' | 'rotate' | 'regroup'>

/** What the table needs from time to time: clean-up, new keys, new rules of grouping. */
export function letterUpkeep(context: LetterContext): Upkeep {
  const { run, quoted, bodies, fingerprint, retainMs, retainDeadMs, batchSize } = context
  const table = `${quoted}.dead_letter`
  const openItem = `exists (select 1 from ${quoted}.redrive_item i where i.letter = d.id and i.result is null)`

  return {
    async clean() {
      const gone = async (condition: string, ms: number) => {
        const { rowCount } = await run(
          `delete from ${table} where id = any (array(
  select d.id from ${table} d where ${condition} and not ${openItem} order by d.changed_at limit $2 for update skip locked))`,
          [ms, batchSize],
        )
        return rowCount ?? 0
      }
      const old = (column: string) => `${column} < statement_timestamp() - $1::float8 * interval '1 ms'`
      let cleaned = await gone(`d.state in ('resolved', 'replaced', 'dropped') and ${old('d.changed_at')}`, retainMs)
      if (retainDeadMs !== null) cleaned += await gone(`d.state = 'dead' and ${old('d.dead_at')}`, retainDeadMs)
      await run(
        `delete from ${quoted}.redrive r where r.state in ('done', 'cancelled') and ${old('r.ended_at')}
  and not exists (select 1 from ${quoted}.redrive_item i where i.redrive = r.id and i.result is null)`,
        [retainMs],
      )
      return cleaned
    },
    async rotate(limit = batchSize) {
      const { rows } = await run(
        `select d.id::text, d.fold::text, d.body, d.body_key from ${table} d
where d.body is not null and d.body_key is distinct from $1 order by d.id limit $2`,
        [bodies.keyId, limit],
      )
      let rotated = 0
      for (const row of rows) {
        const [fold, from] = [textField(row, 'fold') ?? '', textField(row, 'body_key')]
        const stored = field(row, 'body')
        const body = bodies.open(stored instanceof Uint8Array ? stored : null, from, fold)
        const { rowCount } = await run(
          `update ${table} set body = $2, body_key = $3 where id = $1::bigint and body_key is not distinct from $4 and body is not null`,
          [textField(row, 'id'), bodies.seal(body, fold), bodies.keyId, from],
        )
        rotated += rowCount ?? 0
      }
      return rotated
    },
    async regroup(limit = batchSize) {
      const { rows } = await run(
        `select ${letterColumns}, null as claim_state from ${table} d
where ${live} and d.fingerprint ~ '^[0-9]+-' and d.fingerprint !~ $1 order by d.id limit $2`,
        [`^${fingerprintVersion}-`, limit],
      )
      for (const row of rows) {
        const old = letterFrom(row, bodies)
        await run(`update ${table} set fingerprint = $2 where id = $1::bigint and fingerprint = $3`, [
          old.id,
          storable(fingerprint(asDeadLetter(old))),
          old.group,
        ])
      }
      return rows.length
    },
  }
}

function asDeadLetter(letter: Letter): DeadLetter {
  const { messageId, type, key, headers, body, producedMs, reason, deadMs, deaths } = letter
  return {
    message: { id: messageId, type, key, headers, body, timeMs: producedMs },
    metadata: {
      ...letter,
      reason: isFailureReason(reason) ? reason : 'unhandled',
      timeMs: deadMs,
      count: deaths,
    },
  }
}
