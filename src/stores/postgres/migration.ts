import { badOption } from '../../core/options.ts'
import type { OutboxLayout } from './outbox/schema.ts'

/** A feature with its own tables. */
export type SchemaFeature = (typeof schemaFeatures)[number]
export const schemaFeatures = ['idempotency', 'outbox', 'dead-letter', 'circuits', 'limits'] as const

/** What can be chosen when tables are made. */
export interface Layout {
  readonly outbox?: OutboxLayout
}

/** One step of the schema. It is applied once, in the order of its version, and never changed afterwards. */
export interface Migration {
  readonly version: number
  readonly name: string
  readonly feature: SchemaFeature
  /**
   * The statements, separated by semicolons. `schema` arrives checked and quoted: write `${schema}.thing`. No question
   * marks, since Knex takes each for a placeholder, and no other semicolons, since Prisma cuts at each.
   */
  readonly sql: (schema: string, layout: Layout) => string
  /** Takes the step back, and with it what the tables hold. */
  readonly undo: (schema: string) => string
}

/** Refuses features that do not exist. */
export function requireFeatures(where: string, features: readonly SchemaFeature[]): void {
  const known: readonly unknown[] = schemaFeatures
  const given: readonly unknown[] = Array.isArray(features) ? features : [features]
  for (const feature of given)
    if (!known.includes(feature)) throw badOption(where, 'features', `a list of ${known.join(', ')}`, feature)
}

/** The table that says which steps were taken. Every role may read it, so that those without rights can see that nothing is to be done. */
export function createVersions(quoted: string): string {
  return `create table if not exists ${quoted}.migration (
  version integer primary key,
  name text not null,
  applied_at timestamptz not null default clock_timestamp()
);
grant select on ${quoted}.migration to public`
}
