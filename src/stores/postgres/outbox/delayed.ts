import type { StatementRunner } from '../../../core/delivery.ts'
import type { Headers } from '../../../core/message.ts'
import { badOption, checkOptions, requireCount, text } from '../../../core/options.ts'
import { headersFromJson } from '../../../outbox/headers-json.ts'
import { msOf } from '../../../outbox/outbox.ts'
import { quotedSchema } from '../identifiers.ts'
import { explaining } from './errors.ts'
import { numberField, textField } from '../rows.ts'

/** A message that is not due yet, without its body. */
export interface DelayedMessage {
  /** The message's position in the list, for `after`. */
  readonly position: string
  readonly id: string
  readonly destination: string
  readonly key: string | null
  readonly type: string
  readonly headers: Headers
  readonly dueMs: number
}

export interface DelayedPage {
  /** The position of the last one seen. */
  readonly after?: string
  /** @defaultValue 100 */
  readonly limit?: number
}

/** Limits the ids to one destination. @defaultValue messages to every destination */
export interface DelayedFilter {
  readonly destination?: string | null
}

/**
 * Messages added with `delayUntil` that are not due yet. Each method runs one statement on a pool, a client or a handler's
 * transaction (`runner`). In a transaction the change takes effect at the commit.
 */
export interface OutboxDelayed {
  /** Lists delayed messages, the soonest first. */
  list(on: StatementRunner, page?: DelayedPage): Promise<readonly DelayedMessage[]>
  /**
   * Cancels messages by id. Resolves to the cancelled ids; those are not published. A missing id was published already, is
   * about to be published, or never existed.
   */
  cancel(on: StatementRunner, ids: string | readonly string[], filter?: DelayedFilter): Promise<readonly string[]>
  /** Changes the time of messages. Resolves to the ids that were changed. */
  reschedule(
    on: StatementRunner,
    ids: string | readonly string[],
    delayUntil: Date | number,
    filter?: DelayedFilter,
  ): Promise<readonly string[]>
}

/** Lists, cancels and reschedules the delayed messages of an outbox. */
export function postgresOutboxDelayed(options: { readonly schema?: string } = {}): OutboxDelayed {
  const { schema = 'holdfast' } = checkOptions('postgresOutboxDelayed', options, { schema: text })
  const table = `${quotedSchema('postgresOutboxDelayed', schema)}.outbox_delayed`
  const listed = `select extract(epoch from due_at)::text || '/' || seq as position, topic, key, type, message_id,
  headers::text, extract(epoch from due_at)::float8 * 1000 as due_ms
from ${table} where (due_at, seq) > (to_timestamp($1::text::numeric), $2::text::bigint) order by due_at, seq limit $3::text::int`
  // As JSON: no client has to know how to send an array.
  const named = `message_id = any(array(select jsonb_array_elements_text($1::text::jsonb)))
  and ($2::text is null or topic = $2::text)`
  // While a relay moves a message its row is locked: a second session finds it gone.
  const cancelled = `delete from ${table} where ${named} returning message_id`
  const rescheduled = `update ${table} set due_at = to_timestamp($3::text::float8 / 1000) where ${named} returning message_id`

  async function idsOf(on: StatementRunner, text: string, values: (string | null)[]): Promise<readonly string[]> {
    const { rows } = await explaining(on, schema)(text, values)
    return [...new Set(rows.map((row) => textField(row, 'message_id') ?? ''))]
  }
  const asJson = (ids: string | readonly string[]): string => JSON.stringify(typeof ids === 'string' ? [ids] : ids)

  return {
    async list(on, { after = '0/-1', limit = 100 } = {}) {
      requireCount('postgresOutboxDelayed', { limit })
      const [due = '', seq = ''] = after.split('/')
      const { rows } = await explaining(on, schema)(listed, [due, seq, String(limit)])
      return rows.map(delayedFrom)
    },
    cancel: (on, ids, { destination = null } = {}) => idsOf(on, cancelled, [asJson(ids), destination]),
    async reschedule(on, ids, delayUntil, { destination = null } = {}) {
      const ms = msOf(delayUntil)
      if (typeof ms !== 'number')
        throw badOption('postgresOutboxDelayed', 'delayUntil', 'a date or ms since 1970', delayUntil)
      return idsOf(on, rescheduled, [asJson(ids), destination, String(ms)])
    },
  }
}

function delayedFrom(row: unknown): DelayedMessage {
  return {
    position: textField(row, 'position') ?? '',
    id: textField(row, 'message_id') ?? '',
    destination: textField(row, 'topic') ?? '',
    key: textField(row, 'key'),
    type: textField(row, 'type') ?? '',
    headers: headersFromJson(textField(row, 'headers')),
    dueMs: numberField(row, 'due_ms'),
  }
}
