/** The columns of a letter that a death brings, with their types, in the order of the parameters. */
export const buried = [
  ['fold', 'uuid'],
  ['generation', 'bigint'],
  ['pipeline', 'text'],
  ['system', 'text'],
  ['destination', 'text'],
  ['partition', 'text'],
  ['position', 'text'],
  ['origin_group', 'text'],
  ['message_id', 'text'],
  ['key', 'text'],
  ['type', 'text'],
  ['produced_ms', 'float8'],
  ['exact', 'bytea'],
  ['headers', 'bytea'],
  ['body', 'bytea'],
  ['body_key', 'text'],
  ['reason', 'text'],
  ['error_name', 'text'],
  ['error_code', 'text'],
  ['error_message', 'text'],
  ['error_stack', 'text'],
  ['history', 'bytea'],
  ['fingerprint', 'text'],
  ['attempts', 'int'],
  ['trace_id', 'text'],
  ['subject', 'text'],
  ['claim_scope', 'text'],
  ['claim_key', 'text'],
] as const

export type BuriedColumn = (typeof buried)[number][0]
export type BuriedRow = Readonly<Record<BuriedColumn, string | number | Uint8Array | null>>

const names = buried.map(([name]) => name).join(', ')

export interface LetterStatements {
  readonly bury: string
  readonly resolve: string
  readonly diedAgain: string
}

export function letterStatements(schema: string): LetterStatements {
  return {
    // Many rows, in the order of their folds: two batches that share letters cannot deadlock.
    // A death counts only where its generation is newer than the newest whose end is known, and not older than the one that
    // was sent last: a killed worker's lane is resumed later, and finds its letter as it left it. What an operator decided
    // is never taken back by a delivery.
    bury: `
insert into ${schema}.dead_letter as d (${names}, settled)
select ${names}, generation from unnest(${buried.map(([, type], at) => `$${at + 1}::${type}[]`).join(', ')}) as r (${names})
order by fold
on conflict (fold) do update set
  state = 'dead', settled = excluded.settled, generation = greatest(d.generation, excluded.settled),
  deaths = d.deaths + 1, attempts = d.attempts + excluded.attempts,
  dead_at = clock_timestamp(), changed_at = clock_timestamp(),
  reason = excluded.reason, error_name = excluded.error_name, error_code = excluded.error_code,
  error_message = excluded.error_message, error_stack = excluded.error_stack, history = excluded.history,
  fingerprint = excluded.fingerprint, trace_id = coalesce(excluded.trace_id, d.trace_id),
  claim_scope = coalesce(excluded.claim_scope, d.claim_scope), claim_key = coalesce(excluded.claim_key, d.claim_key)
where excluded.settled > d.settled and excluded.settled >= d.generation and d.state in ('dead', 'redriving')`,

    resolve: `
update ${schema}.dead_letter as d set state = 'resolved', settled = r.generation, changed_at = clock_timestamp()
from unnest($1::uuid[], $2::bigint[]) as r (fold, generation)
where d.fold = r.fold and r.generation >= d.settled and d.state in ('dead', 'redriving')`,

    // Where the pipeline's own dead letters go elsewhere, nobody else says that it died again.
    diedAgain: `
update ${schema}.dead_letter set state = 'dead', settled = $2::bigint, deaths = deaths + 1,
  dead_at = clock_timestamp(), changed_at = clock_timestamp()
where id = $1::bigint and state = 'redriving' and generation = $2::bigint and settled < $2::bigint`,
  }
}
