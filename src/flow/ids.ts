import { createHash } from 'node:crypto'
import type { Delivery } from '../core/delivery.ts'
import { checkArgument, text } from '../core/options.ts'

/**
 * The id of a message that a handler publishes. It is the same each time the handler runs for the same message, so that
 * consumers know a repeat as a duplicate. `what` tells the messages of one handler apart. Versions of one pipeline (`orders`
 * and `orders@v2`) give the same ids.
 */
export function idFrom(delivery: Delivery, what: string): string {
  checkArgument('idFrom', 'what', what, text)
  return stableId(delivery, 'message', what)
}

/** A UUID of version 8, whose content is the application's own. Every part goes in with its length: no two lists are alike. */
export function stableId({ pipeline, message }: Delivery, kind: string, what: string): string {
  const parts = [kind, pipeline.replace(/@[^@]*$/, ''), message.id, what]
  const hash = createHash('sha256')
  for (const part of parts) hash.update(`${Buffer.byteLength(part)}:`).update(part)
  const hex = hash.digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-8${hex.slice(13, 16)}-a${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}
