import type { Delivery } from '../core/delivery.ts'
import { PermanentError } from '../core/errors.ts'
import { headerText } from '../core/message.ts'
import { digest } from '../core/stored-key.ts'
import { checkArgument, text } from '../core/options.ts'

/** Returns the idempotency key. Deliveries with the same key are the same work. */
export type KeyOf<Body = unknown> = (delivery: Delivery<Body>) => string

/** The producer's message id: the default. */
export const keyFromId: KeyOf = (delivery) => delivery.message.id

/** The key is a header such as `idempotency-key`. A message without it is dead-lettered, since a guessed key could double effects. */
export function keyFromHeader(name: string): KeyOf {
  checkArgument('keyFromHeader', 'name', name, text)
  return (delivery) => {
    const key = headerText(delivery.message.headers, name)
    if (key === undefined || key === '')
      throw new PermanentError(`message ${delivery.message.id} has no header '${name}'`)
    return key
  }
}

/**
 * The key is a digest of the bytes, for producers that set no id and repeat a message byte for byte. A tombstone or a body
 * that was never bytes has nothing to digest: its key is the message id.
 */
export const keyFromDigest: KeyOf = ({ bytes, message }) => (bytes === null ? `id:${message.id}` : digest(bytes))

/** Joins several parts into one key. Each part carries its length: `a:b` and `c` give another key than `a` and `b:c`. */
export function keyOfParts(...parts: readonly string[]): string {
  return parts.map((part) => `${part.length}:${part}`).join('')
}
