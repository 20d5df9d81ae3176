import type { JsonSchema } from '../schema.ts'
import { exceeded } from './bounds.ts'
import {
  alternatives,
  isOfType,
  listOf,
  namedValues,
  resolved,
  same,
  schemasBy,
  shown,
  takesAnything,
  under,
} from './schemas.ts'

/** Something that a writer may send and a reader does not take. */
export interface Misfit {
  readonly path: string
  readonly says: string
  /** False where it cannot be told: `pattern`, `not` and the like are compared as they are written. */
  readonly sure: boolean
}

/** A pair of schemas somewhere inside the two documents. */
interface Place {
  readonly path: string
  readonly writer: JsonSchema
  readonly reader: JsonSchema
  /** Pairs of references that are being compared further up: a recursive schema ends there. */
  readonly above: ReadonlySet<string>
}

/**
 * What a writer of one schema may send that a reader of the other does not take. A writer sends what its schema declares and
 * nothing else; a reader ignores what it does not know. So a new optional property fits both ways. Two open schemas compared as
 * sets would refuse it, since a writer could have sent anything under that name.
 */
export function misfits(writer: JsonSchema, reader: JsonSchema): readonly Misfit[] {
  return at(writer, reader, { path: '', writer, reader, above: new Set() })
}

function at(from: JsonSchema, to: JsonSchema, place: Place): readonly Misfit[] {
  const writer = resolved(from, place.writer)
  const reader = resolved(to, place.reader)
  if (takesAnything(reader)) return []
  const inside = enter(from, to, place)
  if (inside === undefined) return []
  return ofWriter(writer, reader, inside)
}

function enter(from: JsonSchema, to: JsonSchema, place: Place): Place | undefined {
  if (typeof from['$ref'] !== 'string' || typeof to['$ref'] !== 'string') return place
  const pair = `${from['$ref']} ${to['$ref']}`
  return place.above.has(pair) ? undefined : { ...place, above: new Set(place.above).add(pair) }
}

/** Takes the writer's schema apart: every alternative, type and named value must be taken. */
function ofWriter(writer: JsonSchema, reader: JsonSchema, place: Place): readonly Misfit[] {
  const either = alternatives(writer)
  if (either !== undefined) return either.flatMap((each, n) => at(each, reader, deeper(place, String(n))))
  const types = listOf(writer, 'type')
  if (types !== undefined) return types.flatMap((type) => at({ ...writer, type }, reader, place))
  const values = namedValues(writer)
  if (values === undefined && writer['type'] === 'null') return at({ const: null }, reader, place)
  if (values === undefined && writer['type'] === 'boolean') return at({ enum: [true, false] }, reader, place)
  if (values !== undefined && values.length > 1 && alternatives(reader) !== undefined)
    return values.flatMap((value) => at({ const: value }, reader, place))
  return ofReader(writer, reader, place)
}

/** Takes the reader's schema apart: one alternative or type that takes all is enough. */
function ofReader(writer: JsonSchema, reader: JsonSchema, place: Place): readonly Misfit[] {
  const either = alternatives(reader)
  if (either !== undefined) {
    const tried = either.map((each) => at(writer, each, place))
    const taken = tried.filter((found) => found.length === 0).length
    if (reader['oneOf'] !== undefined && taken > 1) return no(place, 'more than one of oneOf may take it', false)
    if (taken > 0) return []
    const [only, ...more] = tried
    if (only !== undefined && more.length === 0) return only
    return no(place, `no alternative takes ${shown(writer)}`, tried.every(anySure))
  }
  const types = listOf(reader, 'type')
  if (types !== undefined) {
    const tried = types.map((type) => at(writer, { ...reader, type }, place))
    return tried.some((found) => found.length === 0)
      ? []
      : no(place, `takes ${shown(reader)}, gets ${shown(writer)}`, tried.every(anySure))
  }
  if (combined.some((keyword) => keyword in writer || keyword in reader))
    return same(writer, reader) ? [] : no(place, `${combined.join(', ')} cannot be compared`, false)
  return ofValues(writer, reader, place)
}

const combined = ['allOf', 'not', 'if'] as const
const anySure = (found: readonly Misfit[]): boolean => found.some(({ sure }) => sure)

/** Where one of the two names its values one by one. */
function ofValues(writer: JsonSchema, reader: JsonSchema, place: Place): readonly Misfit[] {
  const [sent, taken] = [namedValues(writer), namedValues(reader)]
  if (taken !== undefined) {
    if (sent === undefined) return no(place, `takes only ${JSON.stringify(taken)}, gets ${shown(writer)}`)
    const more = sent.filter((value) => !taken.some((each) => same(each, value)))
    return more.length === 0 ? [] : no(place, `does not take ${JSON.stringify(more)}`)
  }
  if (sent !== undefined) return sent.flatMap((value) => ofValue(value, reader, place))
  return ofTypes(writer, reader, place)
}

function ofValue(value: unknown, reader: JsonSchema, place: Place): readonly Misfit[] {
  if (reader['type'] !== undefined && !isOfType(value, reader['type']))
    return no(place, `takes ${shown({ type: reader['type'] })}, gets ${JSON.stringify(value)}`)
  const { type: _, ...limits } = reader
  return takesAnything(limits) ? [] : no(place, `its limits cannot be compared with ${JSON.stringify(value)}`, false)
}

function ofTypes(writer: JsonSchema, reader: JsonSchema, place: Place): readonly Misfit[] {
  const [sent, taken] = [writer['type'], reader['type']]
  if (sent === undefined) return same(writer, reader) ? [] : no(place, `takes ${shown(reader)}, gets anything`)
  if (taken !== undefined && taken !== sent && !(taken === 'number' && sent === 'integer'))
    return no(place, `takes ${shown({ type: taken })}, gets ${shown({ type: sent })}`)
  const limits = exceeded(writer, reader).map((unfit) => ({ path: pathOf(place), ...unfit }))
  if (sent === 'object') return [...limits, ...ofProperties(writer, reader, place)]
  if (sent === 'array')
    return [...limits, ...at(under(writer, 'items') ?? {}, under(reader, 'items') ?? {}, deeper(place, '[]'))]
  return limits
}

function ofProperties(writer: JsonSchema, reader: JsonSchema, place: Place): readonly Misfit[] {
  const [sent, known] = [schemasBy(writer, 'properties'), schemasBy(reader, 'properties')]
  const always = listOf(writer, 'required') ?? []
  const others = reader['additionalProperties']
  const found: Misfit[] = []
  for (const name of listOf(reader, 'required') ?? [])
    if (!always.includes(name))
      found.push(
        ...no(
          deeper(place, String(name)),
          `must be there, and ${Object.hasOwn(sent, String(name)) ? 'may be missing' : 'is not sent'}`,
        ),
      )
  for (const [name, schema] of Object.entries(sent)) {
    const reads = Object.hasOwn(known, name) ? known[name] : undefined
    if (reads !== undefined) found.push(...at(schema, reads, deeper(place, name)))
    else if (others === false) found.push(...no(deeper(place, name), 'is sent, and a strict reader refuses it'))
    else found.push(...at(schema, under(reader, 'additionalProperties') ?? {}, deeper(place, name)))
  }
  return [...found, ...ofRecord(writer, reader, place)]
}

/** A record: its writer declares every name. */
function ofRecord(writer: JsonSchema, reader: JsonSchema, place: Place): readonly Misfit[] {
  const values = under(writer, 'additionalProperties')
  if (values === undefined || takesAnything(values)) return []
  const sent = schemasBy(writer, 'properties')
  const known = Object.entries(schemasBy(reader, 'properties')).filter(([name]) => !Object.hasOwn(sent, name))
  const found = known.flatMap(([name, schema]) => at(values, schema, deeper(place, name)))
  if (reader['additionalProperties'] === false) return [...found, ...no(place, 'is a record, and the reader is strict')]
  return [...found, ...at(values, under(reader, 'additionalProperties') ?? {}, deeper(place, '*'))]
}

function deeper(place: Place, step: string): Place {
  return { ...place, path: `${place.path}/${step}` }
}

function no(place: Place, says: string, sure = true): readonly Misfit[] {
  return [{ path: pathOf(place), says, sure }]
}

function pathOf({ path }: Place): string {
  return path === '' ? '/' : path
}
