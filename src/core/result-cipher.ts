import type { Message } from './message.ts'

/** Which result it is: encrypted bytes belong to one claim, and open for no other. */
export interface ResultName {
  readonly scope: string
  readonly key: string
}

/** Encrypts what is kept for a later caller. A rejection is an outage of the keys. */
export interface ResultCipher {
  seal(bytes: Uint8Array, name: ResultName, message: Message): Promise<Uint8Array>
  /** `'erased'`: the key was destroyed. */
  open(bytes: Uint8Array, name: ResultName): Promise<Uint8Array | 'erased'>
}
