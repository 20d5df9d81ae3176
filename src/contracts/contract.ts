import { json, pathOf, type SchemaIssue } from '../codecs/json.ts'
import type { Codec, Decoder } from '../core/codec.ts'
import { HoldfastError, PermanentError, RetryLater } from '../core/errors.ts'
import { headerText, withHeaders, headersFrom, type Bytes, type Headers } from '../core/message.ts'
import {
  anything,
  callback,
  checkArgument,
  checkOptions,
  count,
  list,
  objects,
  oneOf,
  required,
  text,
} from '../core/options.ts'
import { outgoing, type Outgoing } from '../core/publisher.ts'
import { jsonSchemaOf, type ContractSchema, type InputOf, type JsonSchema, type OutputOf } from './schema.ts'

/** The header with the version of a body. A message without it has the oldest version that the contract knows. */
export const versionHeader = 'message-version'

/** An older version, and how its bodies become those of the next one. */
export interface OlderVersion<S> {
  readonly schema: S
  /** A body as it travelled. Each check of the contract reads it with the code of today. */
  readonly example: InputOf<S>
  /** Returns a body of the next version, as it would travel. */
  readonly toNext: (body: OutputOf<S>) => unknown
}

/** Schemas by version. */
export type OlderSchemas = Readonly<Record<number, ContractSchema>>
export type NoSchemas = Readonly<Record<never, never>>

export interface Deprecation {
  /** The first day, as `2026-11-01`. */
  readonly since: string
  /** The last day that the event is published. */
  readonly until: string
  /** The type that takes its place. */
  readonly instead?: string
}

export interface ContractOptions<S extends ContractSchema, Older extends OlderSchemas = NoSchemas> {
  /** 1 at first. A change that readers of the version before cannot read makes a new version. */
  readonly version: number
  readonly schema: S
  /** The team that answers for the event. */
  readonly owner: string
  /** What happened, and who needs to know it. */
  readonly why: string
  /** Bodies as they travel. They are checked when the contract is made. */
  readonly examples: readonly [InputOf<S>, ...InputOf<S>[]]
  /** The topic, queue or subject. @defaultValue the type */
  readonly destination?: string
  /** Messages of one key are handled in order. @defaultValue no key */
  readonly key?: (body: OutputOf<S>) => string | null
  /** Older versions by number, without a gap. */
  readonly since?: { readonly [Version in keyof Older]: OlderVersion<Older[Version]> }
  readonly deprecated?: Deprecation
  /**
   * What becomes of a version that this code does not know: it is dead-lettered, it holds the pipeline until a newer
   * deployment reads it, or it is read as the newest known version. @defaultValue `'dead-letter'`
   */
  readonly whenNewer?: 'dead-letter' | 'hold' | 'try'
  /** Findings of the lint that are meant to be, each with the reason: `{ 'no-consumer': 'read by the data warehouse' }`. */
  readonly accepts?: Readonly<Record<string, string>>
}

/** What a contract says of itself, for catalogues and checks. */
export interface About {
  readonly version: number
  readonly older: readonly number[]
  readonly owner: string
  readonly why: string
  readonly examples: readonly unknown[]
  readonly keyed: boolean
  readonly deprecated?: Deprecation
  readonly accepts: Readonly<Record<string, string>>
}

/** An event: its type, its schema in all versions, and who answers for it. It is a decoder: `.decode(OrderPlaced)`. */
export interface Contract<In = never, Out = unknown> extends Decoder<Out> {
  readonly type: string
  readonly destination: string
  readonly about: About
  /**
   * A message to publish, with its type, destination, key, version and bytes. The body is written as it was given.
   * @throws PermanentError for a body that does not fit. It names the place, never the value.
   */
  message(body: In, more?: Partial<Pick<Outgoing, 'id' | 'key' | 'headers' | 'timeMs'>>): Outgoing
  decode(bytes: Bytes, headers: Headers): Promise<Out>
  /** The JSON Schema of what travels. `null` if the schema's library has none, or the version is not known. */
  jsonSchema(version?: number): JsonSchema | null
}

interface Version {
  readonly schema: ContractSchema
  readonly codec: Codec<unknown>
  readonly toNext?: (body: never) => unknown
}

/**
 * Makes the contract of an event.
 * @throws HoldfastError (`bad-option`) for unknown or missing options, a gap in the versions, and an example that does not fit.
 */
export function contract<S extends ContractSchema, Older extends OlderSchemas = NoSchemas>(
  type: string,
  options: ContractOptions<S, Older>,
): Contract<InputOf<S>, OutputOf<S>> {
  checkArgument('contract', 'type', type, text)
  const where = `contract '${type.slice(0, 80)}'`
  const given = checkOptions(where, options, {
    version: required(count()),
    schema: required(objects),
    owner: required(text),
    why: required(text),
    examples: required(list),
    destination: text,
    key: callback,
    since: objects,
    deprecated: objects,
    whenNewer: oneOf('dead-letter', 'hold', 'try'),
    accepts: objects,
  })
  const { version, schema, owner, why, examples, destination = type, key, deprecated, accepts = {} } = given
  const versions = versionsOf(where, version, schema, given.since ?? {})
  const oldest = Math.min(...versions.keys())

  function checked(body: unknown): unknown {
    const result = schema['~standard'].validate(body)
    if (result instanceof Promise)
      throw new PermanentError(`${where}: a schema that answers with a promise cannot check what is published`)
    if (result.issues === undefined) return result.value
    throw new PermanentError(`${where}: the body does not fit version ${version} at ${placeOf(result.issues)}`)
  }

  if (examples.length < 1) throw bad(where, 'it needs an example')
  for (const [index, example] of examples.entries()) {
    try {
      checked(example)
    } catch (cause) {
      throw bad(where, `examples[${index}] does not fit`, cause)
    }
  }

  return {
    type,
    name: `${type}@${version}`,
    destination,
    about: {
      ...{ version, older: [...versions.keys()].filter((each) => each < version), owner, why, examples, accepts },
      keyed: key !== undefined,
      ...(deprecated !== undefined && { deprecated }),
    },
    message(body, { headers = headersFrom([]), ...more } = {}) {
      const out = checked(body) as OutputOf<S>
      return outgoing({
        ...{ destination, type, key: key?.(out) ?? null, ...more },
        headers: withHeaders(headers, { [versionHeader]: String(version) }),
        body: Buffer.from(JSON.stringify(body)),
      })
    },
    async decode(bytes, headers) {
      const from = versionFrom(where, headers, oldest)
      if (from > version) refuseNewer(where, from, version, given.whenNewer ?? 'dead-letter')
      return (await upcast(where, versions, bytes, headers, Math.min(from, version), version)) as OutputOf<S>
    },
    jsonSchema(wanted = version) {
      const found = versions.get(wanted)
      return found === undefined ? null : jsonSchemaOf(found.schema)
    },
  }
}

function versionsOf(
  where: string,
  version: number,
  schema: ContractSchema,
  since: Readonly<Record<string, unknown>>,
): ReadonlyMap<number, Version> {
  const versions = new Map<number, Version>()
  const numbers = Object.keys(since)
    .map(Number)
    .sort((a, b) => a - b)
  for (const number of numbers) {
    const older = since[number] as OlderVersion<ContractSchema>
    if (!Number.isSafeInteger(number) || number < 1 || number >= version)
      throw bad(where, `since[${number}] is not older than version ${version}`)
    checkOptions(`${where}: since[${number}]`, older, {
      schema: required(objects),
      example: required(anything),
      toNext: required(callback),
    })
    versions.set(number, { schema: older.schema, codec: json(older.schema), toNext: older.toNext })
    const result = older.schema['~standard'].validate(older.example)
    if (!(result instanceof Promise) && result.issues !== undefined)
      throw bad(where, `since[${number}].example does not fit its schema at ${placeOf(result.issues)}`)
  }
  versions.set(version, { schema, codec: json(schema) })
  for (let number = numbers[0] ?? version; number < version; number++)
    if (!versions.has(number))
      throw bad(where, `version ${number} is missing: there is no way from it to ${number + 1}`)
  return versions
}

function versionFrom(where: string, headers: Headers, oldest: number): number {
  const said = headerText(headers, versionHeader)
  // A producer that never heard of versions sends the first one.
  if (said === undefined) return oldest
  if (/^[1-9]\d{0,8}$/.test(said)) return Number(said)
  throw new PermanentError(`${where}: '${said.slice(0, 20)}' is no version`)
}

const holdMs = 30_000

function refuseNewer(where: string, from: number, version: number, whenNewer: 'dead-letter' | 'hold' | 'try'): void {
  const newer = `${where}: version ${from} is newer than the ${version} that this code knows`
  if (whenNewer === 'hold') throw new RetryLater(holdMs, { holds: 'pipeline', because: newer })
  if (whenNewer === 'dead-letter') throw new PermanentError(newer)
}

/** Reads a body with the schema of its version, and takes it step by step to the newest one. */
async function upcast(
  where: string,
  versions: ReadonlyMap<number, Version>,
  bytes: Bytes,
  headers: Headers,
  from: number,
  to: number,
): Promise<unknown> {
  const first = versions.get(from)
  if (first === undefined) throw new PermanentError(`${where}: version ${from} is older than any that this code knows`)
  let body: unknown = await first.codec.decode(bytes, headers)
  for (let number = from; number < to; number++) {
    const next = versions.get(number + 1)
    body = versions.get(number)?.toNext?.(body as never)
    const result = await next?.schema['~standard'].validate(body)
    if (result?.issues !== undefined)
      throw new PermanentError(
        `${where}: the step from ${number} to ${number + 1} made what does not fit at ${placeOf(result.issues)}`,
      )
    body = result?.value
  }
  return body
}

function placeOf(issues: readonly SchemaIssue[]): string {
  return pathOf(issues) || 'its root'
}

function bad(where: string, what: string, cause?: unknown): HoldfastError {
  return new HoldfastError('bad-option', `${where}: ${what}`, { cause })
}
