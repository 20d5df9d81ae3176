import { createSecretKey, type KeyObject } from 'node:crypto'
import { badOption, checkOptions, objects, required, text } from '../core/options.ts'

/** A key for AES-256: 32 bytes. */
export interface EncryptionKey {
  /** Travels in a header of every message that it encrypts. */
  readonly id: string
  readonly key: Uint8Array
}

/** Where keys come from: your key management service, a table, or {@link fixedKeys}. A rejection is an outage. */
export interface KeyProvider {
  /** The key for new messages about a subject, such as a customer. `null`: messages about nobody in particular. */
  current(subject: string | null, options?: { readonly signal?: AbortSignal }): Promise<EncryptionKey>
  /**
   * A key by its id. `'destroyed'` only if the store knows that this key was there and was destroyed: its messages are then
   * handled without their content. `'unknown'` for all else, such as a key that has not reached this replica yet.
   */
  byId(id: string, options?: { readonly signal?: AbortSignal }): Promise<Uint8Array | 'destroyed' | 'unknown'>
}

/** Keys from the configuration, without a key for each subject. To rotate, add a key and name it in `use`. */
export function fixedKeys(options: {
  /** The id of the key for new messages. */
  readonly use: string
  /** All keys by id, 32 bytes each. Keep old ones as long as messages may carry them. */
  readonly keys: Readonly<Record<string, Uint8Array>>
}): KeyProvider {
  const { use, keys } = checkOptions('fixedKeys', options, { use: required(text), keys: required(objects) })
  for (const [id, key] of Object.entries<unknown>(keys)) checkKey('fixedKeys', `keys['${id}']`, key)
  const known = new Map(Object.entries(keys))
  const present = known.get(use)
  if (present === undefined) throw badOption('fixedKeys', 'use', 'the id of one of its keys', use)
  return {
    current: () => Promise.resolve({ id: use, key: present }),
    byId: (id) => Promise.resolve(known.get(id) ?? 'unknown'),
  }
}

export function secretKey(where: string, key: Uint8Array): KeyObject {
  checkKey(where, 'key', key)
  return createSecretKey(key)
}

function checkKey(where: string, name: string, key: unknown): void {
  if (!(key instanceof Uint8Array)) throw badOption(where, name, '32 bytes', key)
  if (key.byteLength !== 32) throw badOption(where, name, '32 bytes', `${key.byteLength} bytes`)
}
