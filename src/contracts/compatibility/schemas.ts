import type { JsonSchema } from '../schema.ts'

/** Keywords that say nothing about which values fit. */
const annotations = new Set(
  `$schema $id $comment title description default examples deprecated readOnly writeOnly`.split(' '),
)

export function isSchema(value: unknown): value is JsonSchema {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** A schema under a keyword. `true` and a missing one take anything. */
export function under(schema: JsonSchema, keyword: string): JsonSchema | undefined {
  const found = schema[keyword]
  return isSchema(found) ? found : undefined
}

export function schemasBy(schema: JsonSchema, keyword: string): Readonly<Record<string, JsonSchema>> {
  return (under(schema, keyword) ?? {}) as Readonly<Record<string, JsonSchema>>
}

export function listOf(schema: JsonSchema, keyword: string): readonly unknown[] | undefined {
  const found = schema[keyword]
  return Array.isArray(found) ? found : undefined
}

/** The schemas of `anyOf` or `oneOf`, each with what stands next to it. */
export function alternatives(schema: JsonSchema): readonly JsonSchema[] | undefined {
  const found = listOf(schema, 'anyOf') ?? listOf(schema, 'oneOf')
  if (found === undefined) return undefined
  const { anyOf: _any, oneOf: _one, $defs: _defs, ...beside } = schema
  return found.filter(isSchema).map((each) => ({ ...beside, ...each }))
}

/** The values that a schema names one by one. */
export function namedValues(schema: JsonSchema): readonly unknown[] | undefined {
  return 'const' in schema ? [schema['const']] : listOf(schema, 'enum')
}

export function takesAnything(schema: JsonSchema): boolean {
  return Object.keys(schema).every((keyword) => annotations.has(keyword) || keyword === '$defs')
}

const mostSteps = 20

/** Follows `$ref` within the document. What leads nowhere takes anything. */
export function resolved(schema: JsonSchema, root: JsonSchema): JsonSchema {
  let found = schema
  for (let step = 0; step < mostSteps && typeof found['$ref'] === 'string'; step++) {
    const path = found['$ref'].replace(/^#\/?/, '')
    found = path === '' ? root : path.split('/').map(unescaped).reduce(into, root)
  }
  return found
}

function into(schema: JsonSchema, name: string): JsonSchema {
  return under(schema, name) ?? {}
}

function unescaped(part: string): string {
  return part.replaceAll('~1', '/').replaceAll('~0', '~')
}

/** Equal in any order of properties; annotations do not count. */
export function same(one: unknown, other: unknown): boolean {
  return JSON.stringify(normal(one)) === JSON.stringify(normal(other))
}

function normal(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(normal)
  if (!isSchema(value)) return value
  const names = Object.keys(value).filter((name) => !annotations.has(name))
  return Object.fromEntries(names.sort().map((name) => [name, normal(value[name])]))
}

export function isOfType(value: unknown, type: unknown): boolean {
  switch (type) {
    case 'null':
      return value === null
    case 'integer':
      return Number.isInteger(value)
    case 'array':
      return Array.isArray(value)
    case 'object':
      return isSchema(value)
    default:
      return typeof value === type
  }
}

export function shown(schema: JsonSchema): string {
  return JSON.stringify(schema['const'] ?? schema['enum'] ?? schema['type'] ?? Object.keys(schema)).slice(0, 80)
}
