import type { Delivery } from '../core/delivery.ts'
import { PermanentError } from '../core/errors.ts'
import { storedKey } from '../core/stored-key.ts'

/** The scope under which a store keeps the claim. A replay may have one of its own, so that its messages are handled again. */
export function storedScope<Body>(
  delivery: Delivery<Body>,
  scope: string | ((delivery: Delivery<Body>) => string),
): string {
  const { replayScope } = delivery
  const plain = typeof scope === 'string' ? scope : scope(delivery)
  return storedKey(replayScope === undefined ? plain : `${plain} replay ${replayScope}`)
}

/** @throws PermanentError for what is no key. */
export function storedKeyOf({ message }: Delivery, key: unknown): string {
  if (typeof key !== 'string' || key === '')
    throw new PermanentError(`message ${message.id}: its idempotency key is ${key === '' ? 'empty' : typeof key}`)
  return storedKey(key)
}
