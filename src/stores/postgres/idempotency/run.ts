import { setTimeout as wait } from 'node:timers/promises'
import { explained, isContention } from '../failures.ts'
import type { Queryable, RunStatement } from '../queryable.ts'

/** As errors name the store. */
export const where = 'postgresIdempotencyStore'

// Contention ends by itself; more rounds than this mean that something else is wrong.
const mostAttempts = 12

/** One statement, sent again while all that stands in its way is another transaction. */
export function runOn(pool: Queryable, schema: string): RunStatement {
  return async function run(text, values) {
    for (let attempt = 1; ; attempt++) {
      try {
        return (await pool.query(text, values)).rows
      } catch (error) {
        if (attempt >= mostAttempts || !isContention(error)) throw explained(where, schema, error)
        await wait(attempt * attempt)
      }
    }
  }
}
