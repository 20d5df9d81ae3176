import { quotedRole, quotedSchema } from '../identifiers.ts'
import { checkOptions, text } from '../../../core/options.ts'

/** The roles that get grants. Give the names without quotes. */
export interface OutboxGrants {
  /** Where the tables are. @defaultValue `'holdfast'` */
  readonly schema?: string
  readonly writer?: string
  readonly relay?: string
  /** The role of services that list, cancel and reschedule delayed messages. */
  readonly scheduler?: string
  /** The role of consumers that use `sequence()` with this database. */
  readonly gate?: string
}

/** Returns SQL, for the owner to run, that gives each role exactly the rights that it needs. */
export function outboxGrants(options: OutboxGrants): string {
  const { schema = 'holdfast', ...roles } = checkOptions('outboxGrants', options, {
    schema: text,
    writer: text,
    relay: text,
    scheduler: text,
    gate: text,
  })
  const quoted = quotedSchema('outboxGrants', schema)
  const written = 'topic, key, type, message_id, headers, payload'
  const each = (kind: 'writer' | 'relay' | 'scheduler' | 'gate', grants: readonly string[]): readonly string[] => {
    const role = roles[kind]
    if (role === undefined) return []
    return grants.map((grant) => `grant ${grant} to ${quotedRole('outboxGrants', kind, role)};`)
  }
  return [
    ...each('writer', [
      `usage on schema ${quoted}`,
      `usage on sequence ${quoted}.outbox_id`,
      // Without slot, txid and id: those are never a writer's to choose.
      `insert (${written}) on ${quoted}.outbox`,
      `insert (due_at, ${written}) on ${quoted}.outbox_delayed`,
    ]),
    ...each('relay', [
      `usage on schema ${quoted}`,
      `usage on sequence ${quoted}.outbox_id`,
      `select, insert on ${quoted}.outbox`,
      `truncate, select on ${[0, 1, 2].map((slot) => `${quoted}.outbox_${slot}`).join(', ')}`,
      `select, update on ${quoted}.outbox_shard`,
      `select, insert, update, delete on ${quoted}.outbox_relay`,
      `select, insert, delete on ${quoted}.outbox_dead`,
      `select, update, delete on ${quoted}.outbox_delayed`,
    ]),
    ...each('scheduler', [`usage on schema ${quoted}`, `select, update (due_at), delete on ${quoted}.outbox_delayed`]),
    ...each('gate', [`usage on schema ${quoted}`, `select, insert, update, delete on ${quoted}.outbox_mark`]),
  ].join('\n')
}
