import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { HoldfastError } from '../../../core/errors.ts'
import { badOption, checkOptions, objects, required, text } from '../../../core/options.ts'

/** Keys for bodies at rest, 32 bytes each, by name. Keep the old ones until `rotate()` has found nothing more. */
export interface BodyEncryption {
  /** The name of the key for new bodies. */
  readonly use: string
  readonly keys: Readonly<Record<string, Uint8Array>>
}

export interface Bodies {
  readonly keyId: string | null
  seal(body: Uint8Array | null, fold: string): Uint8Array | null
  open(stored: Uint8Array | null, keyId: string | null, fold: string): Uint8Array | null
}

const ivBytes = 12
const tagBytes = 16

/** AES-256-GCM. The letter's fold is authenticated with it: a body moved to another row does not open. */
export function bodies(where: string, encryption: BodyEncryption | undefined): Bodies {
  if (encryption === undefined) return { keyId: null, seal: (body) => body, open: opener(where, {}) }
  const { use, keys } = checkOptions(`${where}.encryption`, encryption, {
    use: required(text),
    keys: required(objects),
  })
  for (const [name, key] of Object.entries(keys))
    if (!(key instanceof Uint8Array) || key.length !== 32)
      throw badOption(where, `encryption.keys['${name}']`, '32 bytes', `${key.length} bytes`)
  const present = Object.hasOwn(keys, use) ? keys[use] : undefined
  if (present === undefined) throw badOption(where, 'encryption.use', 'the name of one of its keys', use)
  return {
    keyId: use,
    seal(body, fold) {
      if (body === null) return null
      const iv = randomBytes(ivBytes)
      const cipher = createCipheriv('aes-256-gcm', present, iv).setAAD(Buffer.from(fold))
      const sealed = Buffer.concat([cipher.update(body), cipher.final()])
      return Buffer.concat([iv, cipher.getAuthTag(), sealed])
    },
    open: opener(where, keys),
  }
}

function opener(where: string, keys: Readonly<Record<string, Uint8Array>>): Bodies['open'] {
  return (stored, keyId, fold) => {
    if (stored === null || keyId === null) return stored
    const key = Object.hasOwn(keys, keyId) ? keys[keyId] : undefined
    if (key === undefined)
      throw new HoldfastError(
        'bad-option',
        `${where}: the body is encrypted with the key '${keyId}', which is not among encryption.keys`,
      )
    const decipher = createDecipheriv('aes-256-gcm', key, stored.subarray(0, ivBytes))
    decipher.setAAD(Buffer.from(fold)).setAuthTag(stored.subarray(ivBytes, ivBytes + tagBytes))
    return Buffer.concat([decipher.update(stored.subarray(ivBytes + tagBytes)), decipher.final()])
  }
}
