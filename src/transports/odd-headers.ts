import { asHeaderValue, isRepeated, type HeaderValue } from '../core/message.ts'

/** The property with the headers that a broker's own properties cannot hold: repeats, bytes, and `__proto__`. */
export const oddHeaders = 'holdfast-headers'

/** A header as it stands in that property. */
export type OddHeader = readonly [name: string, values: readonly OddValue[], isList: boolean]
type OddValue = string | { readonly base64: string }

export function oddHeaderOf(name: string, value: HeaderValue | readonly HeaderValue[]): OddHeader {
  return isRepeated(value) ? [name, value.map(written), true] : [name, [written(value)], false]
}

/** The headers in that property. None where somebody else wrote it: such a header is no reason to refuse a message. */
export function oddHeadersFrom(
  json: string,
): readonly (readonly [name: string, value: HeaderValue | readonly HeaderValue[]])[] {
  return parsed(json).map(([name, values, isList]) => {
    const read = values.map((each) =>
      typeof each === 'string' ? each : asHeaderValue(Buffer.from(each.base64, 'base64')),
    )
    return [name, isList ? read : (read[0] ?? '')]
  })
}

function parsed(json: string): readonly OddHeader[] {
  try {
    const found: unknown = JSON.parse(json)
    return Array.isArray(found) ? found.filter(isOdd) : []
  } catch {
    return []
  }
}

function isOdd(value: unknown): value is OddHeader {
  if (!Array.isArray(value)) return false
  const [name, values] = value as unknown[]
  return typeof name === 'string' && Array.isArray(values) && values.every(isOddValue)
}

function isOddValue(value: unknown): boolean {
  if (typeof value === 'string') return true
  return typeof value === 'object' && value !== null && typeof Reflect.get(value, 'base64') === 'string'
}

function written(value: HeaderValue): OddValue {
  return typeof value === 'string' ? value : { base64: Buffer.from(value).toString('base64') }
}
