import { explained, isContention } from './failures.ts'
import type { Queryable, RunStatement } from './queryable.ts'

const cleanEveryMs = 60_000
const mostAttempts = 5

export interface SharedRowsOptions {
  readonly pool: Queryable
  /** The factory that asks, in its errors. */
  readonly where: string
  readonly schema: string
  /** Deletes the rows that nobody uses any more. Any process may do it. */
  readonly cleanSql: string
}

export interface SharedRows {
  /** One statement, sent again while all that stands in its way is another transaction. */
  readonly run: RunStatement
  /** Cleans up once a minute. */
  readonly clean: () => void
}

/** Rows that the processes of a fleet share: each call is one statement of its own. */
export function sharedRows({ pool, where, schema, cleanSql }: SharedRowsOptions): SharedRows {
  let cleanedAtMs = performance.now()

  async function run(statement: string, values: unknown[]): Promise<readonly unknown[]> {
    for (let attempt = 1; ; attempt++) {
      try {
        return (await pool.query(statement, values)).rows
      } catch (error) {
        if (attempt >= mostAttempts || !isContention(error)) throw explained(where, schema, error)
      }
    }
  }

  return {
    run,
    clean() {
      if (performance.now() - cleanedAtMs < cleanEveryMs) return
      cleanedAtMs = performance.now()
      // It is tried again, and leaves rows behind at worst.
      void run(cleanSql, []).catch(() => undefined)
    },
  }
}
