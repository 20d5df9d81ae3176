import { PermanentError } from '../core/errors.ts'
import type { Bytes } from '../core/message.ts'
import { badOption, checkOptions, count } from '../core/options.ts'
import type { Codec } from '../core/codec.ts'

/** What any Standard Schema library offers (zod, valibot, arktype, …): https://standardschema.dev */
export interface Schema<Output = unknown> {
  readonly '~standard': {
    readonly version: 1
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>
    readonly types?: { readonly input: unknown; readonly output: Output } | undefined
  }
}
export type SchemaResult<Output> =
  { readonly value: Output; readonly issues?: undefined } | { readonly issues: readonly SchemaIssue[] }
export interface SchemaIssue {
  readonly message: string
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined
}

export interface JsonOptions {
  /** Larger bodies are undecodable; looked at before anything is parsed. @defaultValue 1_048_576 */
  readonly maxBytes?: number
  /** Deeper nesting is undecodable. @defaultValue 100 */
  readonly maxDepth?: number
}

/**
 * JSON checked by any Standard Schema. A tombstone reaches the schema as `null`.
 * Bytes that are too long, too deep, not UTF-8, not JSON or not of the schema are undecodable for good.
 */
export function json<Output>(schema: Schema<Output>, options: JsonOptions = {}): Codec<Output> {
  const { maxBytes = 1_048_576, maxDepth = 100 } = checkOptions('json', options, {
    maxBytes: count(),
    maxDepth: count(),
  })
  const standard: Partial<Schema['~standard']> | undefined = (schema as Partial<Schema> | undefined)?.['~standard']
  if (typeof standard?.validate !== 'function') throw badOption('json', 'schema', 'a Standard Schema', schema)
  const { validate } = schema['~standard']
  return {
    name: 'json',
    async decode(raw) {
      const value = raw === null ? null : parse(raw, maxBytes, maxDepth)
      const result = await checked(validate, value)
      if (result.issues !== undefined) throw unfit(result.issues)
      return result.value
    },
    encode: (body) => (body === null ? null : bytesOf(body)),
  }
}

/** A schema whose own code trips over a value will do so every time; one that could not ask somebody may be right later. */
async function checked<Output>(
  validate: Schema<Output>['~standard']['validate'],
  value: unknown,
): Promise<SchemaResult<Output>> {
  try {
    return await validate(value)
  } catch (cause) {
    if (!isAboutTheValue(cause)) throw cause
    throw new PermanentError(`the schema failed on the body (${cause.name})`, { cause })
  }
}

// A TypeError with a cause is how `fetch` says that it reached nobody.
function isAboutTheValue(error: unknown): error is Error {
  if (error instanceof TypeError) return error.cause === undefined
  return error instanceof SyntaxError || error instanceof RangeError
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

function parse(raw: Uint8Array, maxBytes: number, maxDepth: number): unknown {
  if (raw.byteLength > maxBytes)
    throw new PermanentError(`the body has ${raw.byteLength} bytes, more than the ${maxBytes} that json() takes`)
  if (raw.byteLength > maxDepth) refuseDeeper(raw, maxDepth)
  try {
    return JSON.parse(utf8.decode(raw))
  } catch (cause) {
    // The parser's own message quotes the body.
    throw new PermanentError('the body is not JSON', { cause: cause instanceof Error ? cause.name : cause })
  }
}

const quote = 0x22
const backslash = 0x5c

/** Before parsing: a deep body would overflow the stack of whatever walks it later. */
function refuseDeeper(raw: Uint8Array, maxDepth: number): void {
  let depth = 0
  let inText = false
  for (let at = 0; at < raw.length; at++) {
    const byte = raw[at]
    if (inText) {
      if (byte === backslash) at++
      else if (byte === quote) inText = false
    } else if (byte === quote) inText = true
    else if (byte === 0x7b || byte === 0x5b) {
      if (++depth > maxDepth) throw new PermanentError(`the body is nested deeper than ${maxDepth}`)
    } else if (byte === 0x7d || byte === 0x5d) depth--
  }
}

function bytesOf(body: unknown): Bytes {
  const text = JSON.stringify(body) as string | undefined
  if (text === undefined) throw new PermanentError(`a body of type ${typeof body} cannot be written as JSON`)
  return Buffer.from(text)
}

/** Says where, and keeps the schema's own words in the cause: they may quote the body, which no log and no header may. */
function unfit(issues: readonly SchemaIssue[]): PermanentError {
  const path = issues[0]?.path?.map((step) => String(typeof step === 'object' ? step.key : step)).join('.') ?? ''
  const where = path === '' ? '' : ` at ${path.slice(0, 200)}`
  return new PermanentError(`the body does not fit the schema${where}`, {
    cause: issues.map(({ message }) => message).join('; '),
  })
}
