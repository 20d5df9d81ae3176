import { explained } from '../failures.ts'
import type { PoolClientSlice, PoolSlice, QueryAnswer, Queryable } from '../queryable.ts'

export type Run = (text: string, values: unknown[]) => Promise<QueryAnswer>

/** A pool, or anything else that runs one statement. */
export type OperatorPool = Queryable | (Queryable & PoolSlice<PoolClientSlice>)

export function runner(pool: Queryable, where: string, schema: string): Run {
  return (text, values) =>
    pool.query(text, values).catch((error: unknown) => {
      throw explained(where, schema, error)
    })
}

/**
 * Questions that a person asks, each with an end: a slow one must not hold the database. The limit is set inside the
 * question's own transaction, since a pool may hand out another connection, or a new one, at any time.
 */
export function bounded(pool: OperatorPool, where: string, schema: string, timeoutMs: number): Run {
  if (!('connect' in pool)) return runner(pool, where, schema)
  return async (text, values) => {
    const client = await pool.connect()
    const ignore = (): void => undefined
    client.on('error', ignore)
    let broken = true
    try {
      // Compiling a question of some milliseconds took most of a second.
      await client.query(
        `begin; set local statement_timeout = ${Math.ceil(timeoutMs)}; set local jit = off`,
        undefined as never,
      )
      const answer = await client.query(text, values)
      await client.query('commit', [])
      broken = false
      return answer
    } catch (error) {
      broken = await client.query('rollback', []).then(
        () => false,
        () => true,
      )
      throw explained(where, schema, error)
    } finally {
      client.off('error', ignore)
      client.release(broken)
    }
  }
}
