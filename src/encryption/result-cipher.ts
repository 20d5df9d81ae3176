import type { Message } from '../core/message.ts'
import { callback, checkOptions } from '../core/options.ts'
import type { ResultCipher, ResultName } from '../core/result-cipher.ts'
import type { KeyProvider } from './keys.ts'
import { currentKeys, keysById, lookupKinds } from './lookups.ts'
import { open, seal, shown, type Sealed } from './sealed.ts'

export interface ResultCipherOptions {
  readonly keys: KeyProvider
  /** Whom a result is about: a provider may have a key for each of them. @defaultValue the key of the message that was handled */
  readonly subject?: (message: Message) => string | null
  /** How long a key, or its destruction, is remembered without asking again, in ms. @defaultValue 60,000 */
  readonly keyCacheMs?: number
  /** How long one question to the provider may take, in ms. @defaultValue 10,000 */
  readonly timeoutMs?: number
}

/**
 * Encrypts what `remember()` of `holdfast/results` keeps, with AES-256-GCM. The bytes open only for the claim that they were
 * kept for. When the key is destroyed the result is gone.
 * @throws HoldfastError (`bad-option`)
 */
export function resultCipher(options: ResultCipherOptions): ResultCipher {
  const {
    keys,
    subject = ({ key }: Message) => key,
    keyCacheMs = 60_000,
    timeoutMs = 10_000,
  } = checkOptions('resultCipher', options, {
    ...lookupKinds,
    subject: callback,
  })
  const keyFor = currentKeys(keys, { keyCacheMs, timeoutMs })
  const keyOf = keysById(keys, { keyCacheMs, timeoutMs })
  return {
    async seal(bytes, name, message) {
      const { id, key } = await keyFor(subject(message))
      const keyId = Buffer.from(id)
      const length = Buffer.alloc(2)
      length.writeUInt16BE(keyId.byteLength)
      return Buffer.concat([length, keyId, seal(bytes, boundTo(name), id, key)])
    },
    async open(bytes, name) {
      const { buffer, byteOffset, byteLength } = bytes
      const all = Buffer.from(buffer, byteOffset, byteLength)
      const start = 2 + all.readUInt16BE(0)
      const id = all.toString('utf8', 2, start)
      const key = await keyOf(id)
      if (key === 'destroyed') return 'erased'
      if (key === 'unknown') throw new Error(`the provider does not know the key '${shown(id)}'`)
      return open(all.subarray(start), boundTo(name), id, key)
    },
  }
}

/** The claim in the place of a message: what is moved to another claim does not open. */
function boundTo({ scope, key }: ResultName): Sealed {
  return { id: key, type: 'holdfast result', key: scope }
}
