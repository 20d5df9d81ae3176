import type { Delivery } from '../core/delivery.ts'
import { PermanentError } from '../core/errors.ts'
import { headerText } from '../core/message.ts'
import { digest } from '../core/stored-key.ts'
import { checkArgument, text } from '../core/options.ts'

/** What makes two deliveries the same work. */
export type KeyOf<Body = unknown> = (delivery: Delivery<Body>) => string

/** The producer's message id: the default. */
export const keyFromId: KeyOf = (delivery) => delivery.message.id

/** A header such as `idempotency-key`. A message without it is dead-lettered: guessing a key would double its effects. */
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
 * The bytes themselves: for producers that set no id and repeat a message byte for byte. A tombstone, or a body that never
 * was bytes, has none to tell repeats by: there the key is the message id.
 */
export const keyFromDigest: KeyOf = ({ bytes, message }) => (bytes === null ? `id:${message.id}` : digest(bytes))

/** Several parts as one key; each carries its length, so that `a:b` with `c` and `a` with `b:c` stay apart. */
export function keyOfParts(...parts: readonly string[]): string {
  return parts.map((part) => `${part.length}:${part}`).join('')
}
