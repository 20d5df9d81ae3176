import type { JsMsg } from '@nats-io/jetstream'
import { isObject } from '../../core/errors.ts'

/** A message of the client, with the bytes that it reads its headers from. Its types do not name them. */
interface WithBlock {
  readonly msg: { readonly _rdata: Uint8Array; readonly _msg: { readonly hdr: number } }
}

const utf8 = new TextDecoder()
const begin = 'NATS/1.0'
const lineEnd = '\r\n'

/**
 * Reads the headers of a message, in their order and with repeats. Never throws.
 * The client checks every letter of every name again, which is a third of what a message costs, and throws for a name that
 * another client let through. So the block of headers is read here, where it is found.
 */
export function eachHeader(raw: Pick<JsMsg, 'headers'>, visit: (name: string, value: string) => void): void {
  const block = blockOf(raw)
  if (block !== undefined) return eachLine(block, visit)
  for (const [name, values] of headersOf(raw) ?? []) for (const value of values) visit(name, value)
}

function eachLine(block: string, visit: (name: string, value: string) => void): void {
  let at = block.indexOf(lineEnd) + lineEnd.length
  while (at < block.length) {
    const end = block.indexOf(lineEnd, at)
    const colon = block.indexOf(':', at)
    if (colon !== -1 && colon < end) visit(block.slice(at, colon), block.slice(colon + 1, end).trim())
    at = end + lineEnd.length
  }
}

/** Believed only where it looks as the server writes it: then every line has an end. */
function blockOf(raw: object): string | undefined {
  if (!hasBlock(raw)) return undefined
  const { _rdata: bytes, _msg: place } = raw.msg
  if (place.hdr <= 0) return undefined
  const block = utf8.decode(bytes.subarray(0, place.hdr))
  return block.startsWith(begin) && block.endsWith(lineEnd + lineEnd) ? block : undefined
}

function hasBlock(raw: object): raw is WithBlock {
  if (!('msg' in raw) || !isObject(raw.msg)) return false
  const { msg } = raw
  if (!('_rdata' in msg) || !(msg._rdata instanceof Uint8Array)) return false
  return '_msg' in msg && isObject(msg._msg) && 'hdr' in msg._msg && typeof msg._msg.hdr === 'number'
}

function headersOf(raw: Pick<JsMsg, 'headers'>): JsMsg['headers'] {
  try {
    return raw.headers
  } catch {
    return undefined
  }
}
