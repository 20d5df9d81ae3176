import { withHeaders, type Bytes } from '../core/message.ts'
import { callback, checkOptions } from '../core/options.ts'
import { publishEach } from '../core/publish-each.ts'
import type { Outgoing, PublishMiddleware } from '../core/publisher.ts'
import type { KeyProvider } from './keys.ts'
import { currentKeys, lookupKinds } from './lookups.ts'
import { keyHeader, seal } from './sealed.ts'

const keyOf = ({ key }: Outgoing): string | null => key

export interface EncryptOptions {
  readonly keys: KeyProvider
  /**
   * Whom a message is about. The provider may have a key for each of them: to destroy it erases that person everywhere.
   * @defaultValue the message's key
   */
  readonly subject?: (message: Outgoing) => string | null
  /** How long a key for new messages is used without asking again, in ms. @defaultValue 60,000 */
  readonly keyCacheMs?: number
  /** How long one question to the provider may take, in ms. Then it counts as an outage. @defaultValue 10,000 */
  readonly timeoutMs?: number
}

/**
 * Encrypts bodies with AES-256-GCM: on a publisher, outside of the wire and inside `encode()`, and as the `through` of an
 * outbox. The id, type and key of the message are authenticated with the body. They and the headers stay readable. Tombstones
 * (`null`) stay tombstones. Adds 29 bytes and the header `encryption-key`.
 * @throws HoldfastError (`bad-option`)
 */
export function encrypt(options: EncryptOptions): PublishMiddleware<Bytes> {
  const {
    keys,
    subject = keyOf,
    keyCacheMs = 60_000,
    timeoutMs = 10_000,
  } = checkOptions('encrypt', options, {
    ...lookupKinds,
    subject: callback,
  })
  const keyFor = currentKeys(keys, { keyCacheMs, timeoutMs })

  return publishEach(async (message) => {
    if (message.body === null) return message
    const { id, key } = await keyFor(subject(message))
    const body = seal(message.body, message, id, key)
    return { ...message, body, headers: withHeaders(message.headers, { [keyHeader]: id }) }
  })
}
