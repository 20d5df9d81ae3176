import type { Delivery, Origin } from '../../core/delivery.ts'
import { PermanentError } from '../../core/errors.ts'
import { bytesFrom, headersFrom, type Bytes, type HeaderValue, type Message } from '../../core/message.ts'
import { plainText } from '../../core/text.ts'
import type { Packed } from './store.ts'

/** A message as the pipeline gets it again, as if it came from its source. */
export interface Unpacked {
  readonly message: Message<Bytes>
  readonly origin: Origin
  readonly carried: Readonly<Record<string, string>>
}

type Encoded = string | { readonly b64: string }
type Written = readonly [
  version: 1,
  id: string,
  type: string,
  key: string | null,
  timeMs: number,
  headers: readonly (readonly [name: string, value: Encoded | readonly Encoded[]])[],
  origin: Origin,
  carried: Readonly<Record<string, string>>,
]

const longestKeyText = 200

/** JSON in bytes: NUL and half a surrogate pair are written as escapes, so no store refuses what a message brings. */
export function pack({ message, origin }: Delivery<Bytes>, carried: Readonly<Record<string, string>>): Packed {
  const { id, type, key, timeMs, headers } = message
  const body = bytesFrom(message.body)
  if (body === undefined)
    throw new PermanentError(`message ${id} cannot be parked: its body is ${typeof message.body}, and not bytes`)
  const { system, destination, partition, position, group } = origin
  const written: Written = [
    1,
    id,
    type,
    key,
    Number.isFinite(timeMs) ? timeMs : 0,
    Object.entries(headers).map(([name, value]) => [name, isList(value) ? value.map(encode) : encode(value)] as const),
    { system, destination, partition, position, group },
    carried,
  ]
  return { envelope: Buffer.from(JSON.stringify(written)), body, keyText: plainText(key ?? '', longestKeyText) }
}

export function unpack(envelope: Uint8Array, body: Bytes): Unpacked {
  const [, id, type, key, timeMs, headers, origin, carried] = JSON.parse(Buffer.from(envelope).toString()) as Written
  const pairs = headers.map(([name, value]) => [name, isList(value) ? value.map(decode) : decode(value)] as const)
  return { message: { id, type, key, timeMs, headers: headersFrom(pairs), body }, origin, carried }
}

function encode(value: HeaderValue): Encoded {
  return typeof value === 'string' ? value : { b64: Buffer.from(value).toString('base64') }
}

function decode(value: Encoded): HeaderValue {
  return typeof value === 'string' ? value : new Uint8Array(Buffer.from(value.b64, 'base64'))
}

function isList<Value>(value: Value | readonly Value[]): value is readonly Value[] {
  return Array.isArray(value)
}
