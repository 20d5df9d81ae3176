import type { OutboxLayout } from './outbox/schema.ts'

/** What can be chosen when tables are made. */
export interface Layout {
  readonly outbox?: OutboxLayout
}

/** One step of the schema. It is applied once, in the order of its version, and never changed afterwards. */
export interface Migration {
  readonly version: number
  readonly name: string
  /** The statements, separated by semicolons. `schema` arrives checked and quoted: write `${schema}.thing`. */
  readonly sql: (schema: string, layout: Layout) => string
}
