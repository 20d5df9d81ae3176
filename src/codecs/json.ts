import { PermanentError } from '../core/errors.ts'
import type { Bytes } from '../core/message.ts'
import { badOption, checkOptions, count, oneOf } from '../core/options.ts'
import type { Codec } from '../core/codec.ts'

/** A schema of any Standard Schema library (zod, valibot, arktype, …): https://standardschema.dev */
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
  /** Largest body in bytes, checked before parsing. A larger one is undecodable. @defaultValue 1_048_576 */
  readonly maxBytes?: number
  /** Deepest nesting. A deeper body is undecodable. @defaultValue 100 */
  readonly maxDepth?: number
  /**
   * How to treat a number that JavaScript cannot hold: an integer that would change, such as 9007199254740993, or a number
   * above all doubles, such as 1e400. `'refuse'`: the body is undecodable. `'bigint'`: the schema gets such an integer as a
   * BigInt. `'round'`: the schema gets the nearest number. @defaultValue `'refuse'`
   */
  readonly largeNumbers?: 'refuse' | 'bigint' | 'round'
}

/**
 * A JSON codec that checks bodies with a Standard Schema. The schema gets a tombstone as `null`.
 * A body is undecodable for good if it is too long, too deep, not UTF-8 or not JSON, if it does not fit the schema, or if
 * it has a number that JavaScript cannot hold.
 */
export function json<Output>(schema: Schema<Output>, options: JsonOptions = {}): Codec<Output> {
  const limits = checkOptions('json', options, {
    maxBytes: count(),
    maxDepth: count(),
    largeNumbers: oneOf('refuse', 'bigint', 'round'),
  })
  const standard: Partial<Schema['~standard']> | undefined = (schema as Partial<Schema> | undefined)?.['~standard']
  if (typeof standard?.validate !== 'function') throw badOption('json', 'schema', 'a Standard Schema', schema)
  const { validate } = schema['~standard']
  return {
    name: 'json',
    decode(raw) {
      const value = raw === null ? null : parse(raw, limits)
      try {
        const result = validate(value)
        // A promise only where the schema makes one: it costs as much as a small body's parsing.
        return result instanceof Promise ? result.then(fitting, refuse) : fitting(result)
      } catch (error) {
        return refuse(error)
      }
    },
    encode: (body) => (body === null ? null : bytesOf(body)),
  }
}

function fitting<Output>(result: SchemaResult<Output>): Output {
  if (result.issues !== undefined) throw unfit(result.issues)
  return result.value
}

/** A schema whose own code trips over a value will do so every time; one that could not ask somebody may be right later. */
function refuse(cause: unknown): never {
  if (!isAboutTheValue(cause)) throw cause
  throw new PermanentError(`the schema failed on the body (${cause.name})`, { cause })
}

// A TypeError with a cause is how `fetch` says that it reached nobody.
function isAboutTheValue(error: unknown): error is Error {
  if (error instanceof TypeError) return error.cause === undefined
  return error instanceof SyntaxError || error instanceof RangeError
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

function parse(
  raw: Uint8Array,
  { maxBytes = 1_048_576, maxDepth = 100, largeNumbers = 'refuse' }: JsonOptions,
): unknown {
  if (raw.byteLength > maxBytes)
    throw new PermanentError(`the body has ${raw.byteLength} bytes, more than the ${maxBytes} that json() takes`)
  const suspicious = look(raw, maxDepth)
  try {
    const text = utf8.decode(raw)
    return suspicious && largeNumbers !== 'round' ? parseExactly(text, largeNumbers) : JSON.parse(text)
  } catch (cause) {
    if (cause instanceof PermanentError) throw cause
    // The parser's own message quotes the body.
    throw new PermanentError('the body is not JSON', { cause: cause instanceof Error ? cause.name : cause })
  }
}

const quote = 0x22
const backslash = 0x5c
// Integers of up to 15 digits are always exact.
const mostDigits = 15

/**
 * Before parsing: refuses a body that is too deep, which would overflow the stack of what walks it later, and says
 * whether there may be a number in it that JavaScript cannot hold.
 */
function look(raw: Uint8Array, maxDepth: number): boolean {
  let depth = 0
  let digits = 0
  let inText = false
  let suspicious = false
  for (let at = 0; at < raw.length; at++) {
    const byte = raw[at] ?? 0
    if (inText) {
      if (byte === backslash) at++
      else if (byte === quote) inText = false
    } else if (byte >= 0x30 && byte <= 0x39) {
      if (++digits > mostDigits) suspicious = true
    } else {
      // An exponent: `e` or `E` behind a digit.
      if (digits > 0 && (byte | 0x20) === 0x65) suspicious = true
      digits = 0
      if (byte === quote) inText = true
      else if (byte === 0x7b || byte === 0x5b) {
        if (++depth > maxDepth) throw new PermanentError(`the body is nested deeper than ${maxDepth}`)
      } else if (byte === 0x7d || byte === 0x5d) depth--
    }
  }
  return suspicious
}

/** Slower than `JSON.parse` alone, which is why only suspicious bodies come here. */
function parseExactly(text: string, largeNumbers: 'refuse' | 'bigint'): unknown {
  // The third argument has the number as it is written. Node has it; the types do not know it yet.
  const exactly = (name: string, value: unknown, context?: { readonly source?: string }): unknown => {
    const source = context?.source
    if (typeof value !== 'number' || source === undefined || isExact(value, source)) return value
    if (largeNumbers === 'bigint' && isInteger.test(source)) return BigInt(source)
    throw new PermanentError(`the body has a number that JavaScript cannot hold, at '${name.slice(0, 80)}'`)
  }
  return JSON.parse(text, exactly)
}

const isInteger = /^-?\d+$/

/** A fraction is the nearest double by its nature; an integer is meant to the last digit. */
function isExact(value: number, source: string): boolean {
  if (!Number.isFinite(value)) return false
  return (
    Number.isSafeInteger(value) ||
    !isInteger.test(source) ||
    String(value) === source ||
    BigInt(source) === BigInt(value)
  )
}

function bytesOf(body: unknown): Bytes {
  const text = textOf(body)
  if (text === undefined) throw new PermanentError(`a body of type ${typeof body} cannot be written as JSON`)
  return Buffer.from(text)
}

function textOf(body: unknown): string | undefined {
  try {
    return JSON.stringify(body)
  } catch (cause) {
    // A BigInt, a circle, a toJSON() that throws: the same at every attempt.
    throw new PermanentError('the body cannot be written as JSON', { cause })
  }
}

/** Says where, and keeps the schema's own words in the cause: they may quote the body, which no log and no header may. */
function unfit(issues: readonly SchemaIssue[]): PermanentError {
  const path = pathOf(issues)
  const where = path === '' ? '' : ` at ${path}`
  return new PermanentError(`the body does not fit the schema${where}`, {
    cause: issues.map(({ message }) => message).join('; '),
  })
}

/** Where the first issue is: `items.0.cups`. Empty at the root. */
export function pathOf([issue]: readonly SchemaIssue[]): string {
  const path = issue?.path?.map((step) => String(typeof step === 'object' ? step.key : step)).join('.') ?? ''
  return path.slice(0, 200)
}
