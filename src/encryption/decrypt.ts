import { bodyReader, defaultAttempts } from '../core/codec.ts'
import { staged, type Delivery, type Middleware } from '../core/delivery.ts'
import { factsOf } from '../core/describe.ts'
import { PermanentError } from '../core/errors.ts'
import { headersFrom, headerText, type Bytes, type Headers } from '../core/message.ts'
import { checkOptions, oneOf } from '../core/options.ts'
import type { KeyProvider } from './keys.ts'
import { keysById, lookupKinds, type FoundKey } from './lookups.ts'
import { keyHeader, open, shown } from './sealed.ts'

export interface DecryptOptions {
  readonly keys: KeyProvider
  /** What becomes of a message whose key was destroyed: a tombstone, or undecodable. @defaultValue `'tombstone'` */
  readonly whenErased?: 'tombstone' | 'refuse'
  /** What becomes of a message that is not encrypted. `'pass'` is for the time until all producers encrypt. @defaultValue `'refuse'` */
  readonly whenPlain?: 'refuse' | 'pass'
  /** How long a key, or its destruction, is remembered without asking again, in ms. @defaultValue 60,000 */
  readonly keyCacheMs?: number
  /** How long one question to the provider may take, in ms. Then it counts as an outage. @defaultValue 10,000 */
  readonly timeoutMs?: number
}

/**
 * Opens what {@link encrypt} sealed. Stages inside see the plain body and no `encryption-key` header. What was changed, or moved
 * to another message, is undecodable. While the provider is down the pipeline waits. A key that the provider does not know
 * makes its message wait, and after `maxAttempts` the message is undecodable. The dead letter keeps the encrypted bytes.
 * @throws HoldfastError (`bad-option`, `bad-order`)
 */
export function decrypt(options: DecryptOptions): Middleware<unknown, Delivery<Bytes>> {
  const {
    keys,
    whenErased = 'tombstone',
    whenPlain = 'refuse',
    keyCacheMs = 60_000,
    timeoutMs = 10_000,
  } = checkOptions('decrypt', options, {
    ...lookupKinds,
    whenErased: oneOf('tombstone', 'refuse'),
    whenPlain: oneOf('refuse', 'pass'),
  })
  const keyOf = keysById(keys, { keyCacheMs, timeoutMs })

  function plain(bytes: Bytes, { message }: Delivery<Bytes>): Bytes | Promise<Bytes> {
    if (bytes === null) return null
    const id = headerText(message.headers, keyHeader)
    if (id === undefined) {
      if (whenPlain === 'pass') return bytes
      throw new PermanentError("the body is not encrypted: whenPlain: 'pass' takes such messages")
    }
    const key = keyOf(id)
    const opened = (found: FoundKey): Bytes => {
      // Not an outage: a forged id must hold no other message. It may be a key that has not reached this replica yet.
      if (found === 'unknown') throw new Error(`the provider does not know the key '${shown(id)}'`)
      if (found !== 'destroyed') return open(bytes, message, id, found)
      if (whenErased === 'tombstone') return null
      throw new PermanentError(`the key '${shown(id)}' was destroyed`)
    }
    // A key that is here costs no turn of the event loop.
    return key instanceof Promise ? key.then(opened) : opened(key)
  }

  const middleware: Middleware<unknown, Delivery<Bytes>> = (next, place) => {
    const { maxAttempts = defaultAttempts } = factsOf(place === undefined ? [] : [...place.outside, ...place.inside])
    const read = bodyReader(plain, maxAttempts)
    return async function decrypt(delivery) {
      const body = await read(delivery)
      return next({
        ...delivery,
        message: { ...delivery.message, body, headers: withoutKey(delivery.message.headers) },
      })
    }
  }
  const keepsBytes = 'it keeps the bytes as they travelled'
  return staged(middleware, {
    name: 'decrypt',
    notInside: { decode: 'the body is not bytes any more' },
    wantsOutside: { 'dead-letter': keepsBytes, parking: keepsBytes },
    excludes: { decrypt: 'the first one has opened the body' },
  })
}

/** A handler that copies the headers to what it publishes must not call that encrypted. */
function withoutKey(headers: Headers): Headers {
  return Object.hasOwn(headers, keyHeader)
    ? headersFrom(Object.entries(headers).filter(([name]) => name !== keyHeader))
    : headers
}
