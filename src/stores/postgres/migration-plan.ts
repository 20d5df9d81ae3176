import { anything, checkOptions, flag, objects, requireCount, text } from '../../core/options.ts'
import { quotedSchema } from './identifiers.ts'
import { createVersions, requireFeatures, schemaFeatures, type SchemaFeature } from './migration.ts'
import { migrations } from './migrations.ts'
import { requireLayout, type OutboxLayout } from './outbox/schema.ts'

export interface MigrationPlanOptions {
  /** Where the tables are. @defaultValue `'holdfast'` */
  readonly schema?: string
  /** The schema's current version. Only later steps are printed. @defaultValue 0, no tables yet */
  readonly from?: number
  /** The features whose tables to make. @defaultValue all */
  readonly features?: readonly SchemaFeature[]
  /** Whether the SQL begins and commits a transaction. Pass `false` for tools that do that themselves. @defaultValue `true` */
  readonly transaction?: boolean
  /** The layout of the outbox tables. */
  readonly outbox?: OutboxLayout
}

export type MigrationUndoOptions = Omit<MigrationPlanOptions, 'outbox'>

/** Returns the SQL of `migrate()`, to review, to run by hand, or for a tool such as Drizzle, Knex, Prisma or Flyway. */
export function migrationPlan(options: MigrationPlanOptions = {}): string {
  const {
    schema = 'holdfast',
    from = 0,
    features = schemaFeatures,
    transaction = true,
    outbox = {},
  } = checkOptions('migrationPlan', options, {
    schema: text,
    from: anything,
    features: anything,
    transaction: flag,
    outbox: objects,
  })
  const quoted = quotedSchema('migrationPlan', schema)
  requireCount('migrationPlan', { from }, 0)
  requireFeatures('migrationPlan', features)
  requireLayout('migrationPlan', outbox)
  const wanted = migrations.filter(({ version, feature }) => version > from && features.includes(feature))
  const steps = [
    `create schema if not exists ${quoted};`,
    `${createVersions(quoted)};`,
    ...wanted.map(
      ({ version, name, sql }) =>
        `-- ${version}: ${name}${sql(quoted, { outbox })}\n\ninsert into ${quoted}.migration (version, name) values (${version}, '${name}');`,
    ),
  ]
  return script(steps, transaction)
}

/**
 * Returns SQL that undoes every step above version `from`, newest first. **The data in the tables is lost.** The schema
 * itself stays.
 */
export function migrationUndo(options: MigrationUndoOptions = {}): string {
  const {
    schema = 'holdfast',
    from = 0,
    features = schemaFeatures,
    transaction = true,
  } = checkOptions('migrationUndo', options, { schema: text, from: anything, features: anything, transaction: flag })
  const quoted = quotedSchema('migrationUndo', schema)
  requireCount('migrationUndo', { from }, 0)
  requireFeatures('migrationUndo', features)
  const unwanted = migrations.filter(({ version, feature }) => version > from && features.includes(feature)).reverse()
  const all = from === 0 && schemaFeatures.every((feature) => features.includes(feature))
  const steps = [
    ...unwanted.map(
      ({ version, name, undo }) =>
        `-- back from ${version}: ${name}${undo(quoted)}\n\ndelete from ${quoted}.migration where version = ${version};`,
    ),
    ...(all ? [`drop table ${quoted}.migration;`] : []),
  ]
  return script(steps, transaction)
}

function script(steps: readonly string[], transaction: boolean): string {
  return `${(transaction ? ['begin;', ...steps, 'commit;'] : steps).join('\n\n')}\n`
}
