import type pg from 'pg'
import type { TransactionalIdempotencyStore } from '../../../src/idempotency/store.ts'
import type { Appended, AppendRequest, ParkingStore } from '../../../src/ordering/parking/store.ts'

type Store = TransactionalIdempotencyStore & ParkingStore

/** The store with a fault planted in it, which the ledger must find. */
export function brokenStore(store: Store, how: string | undefined, pool: pg.Pool, schema: string): Store {
  if (how === 'append-apart') return { ...store, append: appendApart(pool, schema) }
  if (how === 'stale-set')
    return {
      ...store,
      claim: ({ lane, ...request }, options) =>
        store.claim(lane?.token === null || lane === undefined ? request : { ...request, lane }, options),
    }
  return store
}

/** The look and the insert are two steps, without the foreign key that would notice. */
function appendApart(pool: pg.Pool, schema: string): ParkingStore['append'] {
  const appendOne = async ({
    pipeline,
    lane,
    scope,
    key,
    envelope,
    body,
    keyText,
  }: AppendRequest): Promise<Appended> => {
    const there = await pool.query(`select 1 from ${schema}.parked_lane where pipeline = $1 and lane = $2`, [
      pipeline,
      lane,
    ])
    if (there.rowCount === 0) return 'again'
    const final = await pool.query(
      `select 1 from ${schema}.idempotency where scope = $1 and key = $2 and state in ('completed', 'failed')`,
      [scope, key],
    )
    if (final.rowCount !== 0) return 'again'
    await pool.query(
      `with moved as (
  update ${schema}.parked_lane set tail = tail + 1 where pipeline = $1 and lane = $2 returning tail)
insert into ${schema}.parked (pipeline, lane, seq, scope, claim_key, key_text, envelope, body)
values ($1, $2, coalesce((select tail from moved), (random() * 1e12)::bigint), $3, $4, $5, $6, $7) on conflict do nothing`,
      [pipeline, lane, scope, key, keyText, envelope, body],
    )
    return 'appended'
  }
  return async (run) => {
    const answers: Appended[] = []
    for (const request of run) answers.push(await appendOne(request))
    return answers
  }
}
