import type { Delivery } from '../core/delivery.ts'
import { RetryLater } from '../core/errors.ts'
import { digest } from '../core/stored-key.ts'

const waitMs = 500

/** The digest that tells the contents of two messages with one key apart, or `null` where that is not asked. */
export function fingerprinter<Body>(
  fingerprint: boolean | ((delivery: Delivery<Body>) => string | Uint8Array),
  decoded: boolean,
): (delivery: Delivery<Body>) => string | null {
  if (fingerprint === false) return () => null
  if (fingerprint !== true) return (delivery) => digest(fingerprint(delivery))
  return ({ bytes, message }) => {
    if (bytes !== null) return digest(bytes)
    // Without decode() around, a body that is not null never was bytes: nothing could tell one from another.
    if (!decoded && message.body !== null) throw noBytes(message.id)
    return tombstone
  }
}

// No digest reads like this.
const tombstone = 'none'

function noBytes(messageId: string): RetryLater {
  const because = `idempotency: fingerprint true digests bytes, and message ${messageId} has none: give a function`
  return new RetryLater(waitMs, { holds: 'pipeline', because })
}
