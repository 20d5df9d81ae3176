import { PermanentError } from '../core/errors.ts'
import { headersFrom, isRepeated, type Headers, type HeaderValue, type Message } from '../core/message.ts'

/**
 * Headers as JSON text for a jsonb column, `null` for none: text as it is, bytes as `{"b64": "…"}`, repeats as arrays.
 * jsonb holds no NUL, so text with one travels as bytes.
 * @throws PermanentError for names and values that have no UTF-8 form.
 */
export function headersToJson({ id, headers }: Pick<Message, 'id' | 'headers'>): string | null {
  const names = Object.keys(headers)
  if (names.length === 0) return null
  const parts = names.map((name) => {
    if (name.includes('\0') || !name.isWellFormed())
      throw new PermanentError(`outbox: the message ${id} has a header whose name is not plain text`)
    const value = headers[name]
    const jsonable = isRepeated(value) ? value.map((each) => toJson(id, name, each)) : toJson(id, name, value)
    return `${JSON.stringify(name)}:${JSON.stringify(jsonable)}`
  })
  // Put together by hand: an object would lose a header named __proto__.
  return `{${parts.join(',')}}`
}

/** The way back. */
export function headersFromJson(text: string | null): Headers {
  if (text === null) return headersFrom([])
  const parsed: unknown = JSON.parse(text)
  if (typeof parsed !== 'object' || parsed === null) return headersFrom([])
  return headersFrom(Object.entries(parsed).map(([name, value]) => [name, fromJson(value)]))
}

type Jsonable = string | { readonly b64: string }

function toJson(id: string, name: string, value: HeaderValue | undefined): Jsonable {
  if (value instanceof Uint8Array) return { b64: Buffer.from(value).toString('base64') }
  if (typeof value !== 'string' || !value.isWellFormed())
    throw new PermanentError(`outbox: the message ${id} has a header ${name} that is neither text nor bytes`)
  return value.includes('\0') ? { b64: Buffer.from(value).toString('base64') } : value
}

function fromJson(value: unknown): HeaderValue | readonly HeaderValue[] {
  if (Array.isArray(value)) return value.map((each: unknown) => single(each))
  return single(value)
}

function single(value: unknown): HeaderValue {
  if (typeof value === 'object' && value !== null && 'b64' in value && typeof value.b64 === 'string')
    return Buffer.from(value.b64, 'base64')
  // Rows may be written by hand or by a trigger: a number is better kept as text than refused.
  return typeof value === 'string' ? value : JSON.stringify(value)
}
