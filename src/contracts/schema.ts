import type { SchemaResult } from '../codecs/json.ts'

/** A JSON Schema, as far as it matters here: keywords by name. */
export type JsonSchema = Readonly<Record<string, unknown>>

/**
 * A schema of any Standard Schema library. Libraries that also describe themselves as JSON Schema (zod 4.2, ArkType 2.1.28,
 * Valibot with `toStandardJsonSchema()`) make the catalogue and the compatibility check possible.
 * Source: https://standardschema.dev and https://standardschema.dev/json-schema
 */
export interface ContractSchema<In = unknown, Out = unknown> {
  readonly '~standard': {
    readonly version: 1
    readonly validate: (value: unknown) => SchemaResult<Out> | Promise<SchemaResult<Out>>
    readonly types?: { readonly input: In; readonly output: Out } | undefined
    readonly jsonSchema?:
      { readonly input: (options: { readonly target: 'draft-2020-12' }) => Record<string, unknown> } | undefined
  }
}

interface Typed<In, Out> {
  readonly '~standard': { readonly types?: { readonly input: In; readonly output: Out } | undefined }
}

/** What travels: a default may be missing, a date is text. */
export type InputOf<S> = S extends Typed<infer In, unknown> ? In : never
/** What a handler sees. */
export type OutputOf<S> = S extends Typed<unknown, infer Out> ? Out : never

/** The JSON Schema of what travels. `null` if the library cannot describe this schema. */
export function jsonSchemaOf(schema: ContractSchema): JsonSchema | null {
  try {
    return schema['~standard'].jsonSchema?.input({ target: 'draft-2020-12' }) ?? null
  } catch {
    // A kind that JSON has no words for, such as zod's `z.date()`.
    return null
  }
}
