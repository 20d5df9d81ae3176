import { createCipheriv, createDecipheriv, randomFillSync, type KeyObject } from 'node:crypto'
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
  const sealed = Buffer.allocUnsafe(headBytes + body.byteLength)
  sealed[0] = version
  const nonce = sealed.subarray(1, 1 + nonceBytes)
  fillNonce(nonce)
  const cipher = createCipheriv('aes-256-gcm', key, nonce).setAAD(boundTo(message, keyId))
  // In this mode as many bytes come out as go in, and none at the end.
  sealed.set(cipher.update(body), headBytes)
  cipher.final()
  sealed.set(cipher.getAuthTag(), 1 + nonceBytes)
  return sealed
}

const random = Buffer.alloc(512 * nonceBytes)
let used = random.byteLength

/** Asked for by the thousand: a call for each costs as much as the encryption of a small body. */
function fillNonce(nonce: Uint8Array): void {
  if (used === random.byteLength) {
    randomFillSync(random)
    used = 0
  }
  nonce.set(random.subarray(used, used + nonceBytes))
  used += nonceBytes
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
    const body = decipher.update(bytes.subarray(headBytes))
    decipher.final()
    return body
  } catch (cause) {
    throw new PermanentError(
      `the body does not open with the key '${shown(keyId)}': it was changed, or belongs to another message`,
      { cause },
    )
  }
}

/** Each part with its length in front, so that no two messages have the same. A missing key is not an empty one. */
function boundTo({ id, type, key }: Sealed, keyId: string): Buffer {
  const parts = key === null ? [keyId, id, type] : [keyId, id, type, key]
  const lengths = parts.map((part) => Buffer.byteLength(part))
  const bound = Buffer.allocUnsafe(lengths.reduce((sum, length) => sum + 4 + length, 0))
  parts.reduce((at, part, n) => {
    const start = bound.writeUInt32BE(lengths[n] ?? 0, at)
    return start + bound.write(part, start)
  }, 0)
  return bound
}

export function shown(keyId: string): string {
  return keyId.slice(0, 80)
}
