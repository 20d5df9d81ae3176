import { createCipheriv, createDecipheriv, randomBytes, type KeyObject } from 'node:crypto'
import { PermanentError } from '../core/errors.ts'
import type { Message } from '../core/message.ts'

/** The header with the id of the key. */
export const keyHeader = 'encryption-key'

// One byte for the version, then the nonce, the tag, and the content.
const version = 1
const nonceBytes = 12
const tagBytes = 16
const headBytes = 1 + nonceBytes + tagBytes

/** What a message is, besides its body. It is authenticated with the body: bytes moved to another message do not open. */
export type Sealed = Pick<Message, 'id' | 'type' | 'key'>

export function seal(body: Uint8Array, message: Sealed, keyId: string, key: KeyObject): Uint8Array {
  const nonce = randomBytes(nonceBytes)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(boundTo(message, keyId))
  const content = Buffer.concat([cipher.update(body), cipher.final()])
  return Buffer.concat([Buffer.of(version), nonce, cipher.getAuthTag(), content])
}

/** @throws PermanentError where these bytes were not sealed for this message with this key. */
export function open(bytes: Uint8Array, message: Sealed, keyId: string, key: KeyObject): Uint8Array {
  if (bytes.byteLength < headBytes || bytes[0] !== version)
    throw new PermanentError(
      `the body is not encrypted in a form that this version knows, but names the key '${shown(keyId)}'`,
    )
  const nonce = bytes.subarray(1, 1 + nonceBytes)
  const tag = bytes.subarray(1 + nonceBytes, headBytes)
  const decipher = createDecipheriv('aes-256-gcm', key, nonce, { authTagLength: tagBytes })
  decipher.setAAD(boundTo(message, keyId)).setAuthTag(tag)
  try {
    return Buffer.concat([decipher.update(bytes.subarray(headBytes)), decipher.final()])
  } catch (cause) {
    throw new PermanentError(
      `the body does not open with the key '${shown(keyId)}': it was changed, or belongs to another message`,
      { cause },
    )
  }
}

/** Each part with its length in front, so that no two messages have the same. A missing key is not an empty one. */
function boundTo({ id, type, key }: Sealed, keyId: string): Buffer {
  const parts = [keyId, id, type, ...(key === null ? [] : [key])]
  return Buffer.concat(
    parts.flatMap((part) => {
      const bytes = Buffer.from(part)
      const length = Buffer.alloc(4)
      length.writeUInt32BE(bytes.byteLength)
      return [length, bytes]
    }),
  )
}

export function shown(keyId: string): string {
  return keyId.slice(0, 80)
}
