import type { Failure } from '../../core/errors.ts'
import { HoldfastError, isFailureReason, RetryLater } from '../../core/errors.ts'
import type { Message } from '../../core/message.ts'
import type { ResultCipher, ResultName } from '../../core/result-cipher.ts'

/** What is kept of one call. */
export type Kept =
  | { readonly kind: 'result'; readonly bytes: Uint8Array }
  | { readonly kind: 'failure'; readonly failure: Failure }
  | { readonly kind: 'too-large' }
  /** The key that encrypted it was destroyed. */
  | { readonly kind: 'erased' }

// The first byte of what is stored.
const result = 1
const failure = 2
const tooLarge = 3
const sealed = 4

const waitMs = 1000

/** The bytes that a store keeps. `@throws` what the cipher rejects with. */
export async function written(
  kept: Exclude<Kept, { kind: 'erased' }>,
  cipher: ResultCipher | undefined,
  name: ResultName,
  message: Message,
): Promise<Uint8Array> {
  const plain = plainOf(kept)
  return cipher === undefined ? plain : tagged(sealed, await cipher.seal(plain, name, message))
}

function plainOf(kept: Exclude<Kept, { kind: 'erased' }>): Uint8Array {
  switch (kept.kind) {
    case 'result':
      return tagged(result, kept.bytes)
    case 'failure':
      return tagged(failure, Buffer.from(JSON.stringify(kept.failure)))
    case 'too-large':
      return Uint8Array.of(tooLarge)
  }
}

/**
 * @throws RetryLater while the keys cannot be had.
 * @throws HoldfastError `bad-option` for what is encrypted, without a cipher, and for bytes that no version of this wrote.
 */
export async function read(bytes: Uint8Array, cipher: ResultCipher | undefined, name: ResultName): Promise<Kept> {
  const content = bytes.subarray(1)
  const [tag = 0] = bytes
  switch (tag) {
    case result:
      return { kind: 'result', bytes: content }
    case failure:
      return { kind: 'failure', failure: failureOf(content) }
    case tooLarge:
      return { kind: 'too-large' }
    case sealed:
      return opened(content, cipher, name)
    default:
      throw new HoldfastError(
        'bad-option',
        `remember: the result kept for '${name.key}' was not written by this version`,
      )
  }
}

async function opened(content: Uint8Array, cipher: ResultCipher | undefined, name: ResultName): Promise<Kept> {
  if (cipher === undefined)
    throw new HoldfastError('bad-option', `remember: the result kept for '${name.key}' is encrypted: give cipher`)
  const plain = await cipher.open(content, name).catch((cause: unknown) => {
    throw new RetryLater(waitMs, { because: `the result kept for '${name.key}' could not be opened`, cause })
  })
  return plain === 'erased' ? { kind: 'erased' } : read(plain, undefined, name)
}

function failureOf(content: Uint8Array): Failure {
  const kept = JSON.parse(Buffer.from(content).toString()) as Partial<Failure>
  const { reason, errorName = '', errorMessage = '', errorCode, attempts = 0 } = kept
  return {
    reason: isFailureReason(reason) ? reason : 'unhandled',
    errorName,
    errorMessage,
    ...(errorCode !== undefined && { errorCode }),
    attempts,
  }
}

function tagged(tag: number, content: Uint8Array): Uint8Array {
  return Buffer.concat([Uint8Array.of(tag), content])
}
