import { HoldfastError } from '../../../core/errors.ts'
import { sqlState } from '../failures.ts'
import type { Queryable, QueryAnswer } from '../queryable.ts'

/** Says what a database error means for the outbox, and what to do; other errors stay as they are. */
export function explained(error: unknown, schema: string): unknown {
  const say = (code: 'bad-schema' | 'unavailable', what: string): HoldfastError =>
    new HoldfastError(code, `outbox: ${what}`, { cause: error })
  switch (sqlState(error) ?? '') {
    case '42P01':
    case '42703':
    case '42883':
    case '3F000':
      return say('bad-schema', `the schema ${schema} has no outbox, or an older one: run migrate(pool, { schema })`)
    case '42501':
      return say(
        'bad-schema',
        `this role lacks a right (${messageOf(error)}): run what outboxGrants({ schema: '${schema}', writer, relay, gate }) prints`,
      )
    case '25006':
      return say('unavailable', 'this connection is read-only (a replica, or a read-only transaction): use the primary')
    case '55000':
      return /recovery/.test(messageOf(error))
        ? say('unavailable', 'this server is a standby: the outbox works on the primary only')
        : say(
            'bad-schema',
            `this server does not answer what a relay must know of its write-ahead log (${messageOf(error)}). On a ` +
              'hosted server that may need wal_level = logical',
          )
    default:
      return error
  }
}

/** Runs statements on a pool; what goes wrong names the fix. */
export function explaining(pool: Queryable, schema: string): (text: string, values: unknown[]) => Promise<QueryAnswer> {
  return async function run(text, values) {
    try {
      return await pool.query(text, values)
    } catch (error) {
      throw explained(error, schema)
    }
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
