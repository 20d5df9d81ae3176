import type { Bytes, Headers } from '../../../core/message.ts'
import { checkOptions, requireCount, text } from '../../../core/options.ts'
import { headersFromJson } from '../../../outbox/headers-json.ts'
import { quotedSchema } from '../identifiers.ts'
import { explaining } from './errors.ts'
import { checkPool, type Queryable } from '../queryable.ts'
import { field, numberField, textField } from '../rows.ts'

/** A message that the broker refused for good. */
export interface DeadMessage {
  /** The message's position in the list, for `after`, `sendAgain` and `remove`. */
  readonly position: string
  readonly destination: string
  readonly key: string | null
  readonly type: string
  readonly id: string
  readonly headers: Headers
  readonly body: Bytes
  readonly error: string
  readonly addedMs: number
  readonly diedMs: number
}

export interface OutboxDead {
  /** Lists dead messages, oldest first. `after` is the position of the last one seen. */
  list(page?: { readonly after?: string; readonly limit?: number }): Promise<readonly DeadMessage[]>
  /** Puts messages back at the end of the outbox with the same ids. Returns how many. They come after later messages of their keys. */
  sendAgain(positions: readonly string[]): Promise<number>
  /** Deletes messages. Returns how many. */
  remove(positions: readonly string[]): Promise<number>
}

/** Lists the messages that relays set aside, and sends them again or deletes them. */
export function postgresOutboxDead(pool: Queryable, options: { readonly schema?: string } = {}): OutboxDead {
  const { schema = 'holdfast' } = checkOptions('postgresOutboxDead', options, { schema: text })
  checkPool('postgresOutboxDead', pool)
  const quoted = quotedSchema('postgresOutboxDead', schema)
  const columns = 'topic, key, type, message_id, headers, payload'
  const listed = `select id::text, topic, key, type, message_id, headers::text, payload, error,
  extract(epoch from created_at)::float8 * 1000 as added_ms, extract(epoch from died_at)::float8 * 1000 as died_ms
from ${quoted}.outbox_dead d where id > $1::bigint order by d.id limit $2`
  // One statement: a crash leaves a message in one of the two tables, never in both or neither.
  const sentAgain = `with gone as (delete from ${quoted}.outbox_dead where id = any($1::bigint[]) returning *)
insert into ${quoted}.outbox (${columns}) select ${columns} from gone order by id`
  const removed = `delete from ${quoted}.outbox_dead where id = any($1::bigint[])`

  const run = explaining(pool, schema)

  return {
    async list({ after = '-1', limit = 100 } = {}) {
      requireCount('postgresOutboxDead', { limit })
      const { rows } = await run(listed, [after, limit])
      return rows.map(deadFrom)
    },
    sendAgain: async (positions) => (await run(sentAgain, [positions])).rowCount ?? 0,
    remove: async (positions) => (await run(removed, [positions])).rowCount ?? 0,
  }
}

function deadFrom(row: unknown): DeadMessage {
  const payload = field(row, 'payload')
  return {
    position: textField(row, 'id') ?? '',
    destination: textField(row, 'topic') ?? '',
    key: textField(row, 'key'),
    type: textField(row, 'type') ?? '',
    id: textField(row, 'message_id') ?? '',
    headers: headersFromJson(textField(row, 'headers')),
    body: payload instanceof Uint8Array ? payload : null,
    error: textField(row, 'error') ?? '',
    addedMs: numberField(row, 'added_ms'),
    diedMs: numberField(row, 'died_ms'),
  }
}
