import type { Bytes } from '../core/message.ts'

/** Shows a body without its values. `revealed` bodies do not come here. */
export type Mask = (body: Uint8Array) => string

const longestJson = 1_000_000

/** The default. JSON keeps its names and shape and loses its values. Of other bodies only the size is shown. */
export function maskValues(body: Uint8Array): string {
  if (body.length > longestJson) return `${body.length} bytes`
  try {
    return JSON.stringify(masked(JSON.parse(Buffer.from(body).toString())), null, 2)
  } catch {
    return `${body.length} bytes that are no JSON`
  }
}

function masked(value: unknown): unknown {
  if (Array.isArray(value))
    return value.length === 0 ? [] : [masked(value[0]), ...(value.length > 1 ? [`… ${value.length - 1} more`] : [])]
  if (typeof value !== 'object' || value === null) return value === null ? null : `<${typeof value}>`
  // Put together from pairs: an object would lose a name like __proto__.
  return Object.fromEntries(Object.entries(value).map(([name, each]) => [name, masked(each)]))
}

/** A body as text: JSON indented, other text as it is, bytes as hex of their beginning. */
export function shownBody(body: Bytes): string {
  if (body === null) return 'no body: a tombstone'
  const text = Buffer.from(body).toString()
  if (Buffer.from(text).equals(Buffer.from(body))) {
    try {
      return body.length > longestJson ? text : JSON.stringify(JSON.parse(text), null, 2)
    } catch {
      return text
    }
  }
  return `${body.length} bytes that are no text, beginning with ${Buffer.from(body.subarray(0, 64)).toString('hex')}`
}
