import type { Codec } from '../../core/codec.ts'
import type { Delivery, StatementRunner } from '../../core/delivery.ts'
import { failureFrom, PermanentError, textOf } from '../../core/errors.ts'
import { emitter } from '../../core/events.ts'
import { headersFrom } from '../../core/message.ts'
import type { ResultCipher } from '../../core/result-cipher.ts'
import type { HeldClaim } from '../store.ts'
import { written, type Kept } from './record.ts'
import type { ResultStore } from './store.ts'

export interface AnswerTerms<Result> {
  readonly store: ResultStore
  readonly codec: Pick<Codec<Result>, 'encode' | 'decode'>
  readonly maxBytes: number
  readonly cipher: ResultCipher | undefined
}

const storeFailed = emitter('store-failed')
const noHeaders = headersFrom([])

/** What one call came to, on its way from the handler to the store and to the caller. */
export class Answer<Result> {
  readonly #terms: AnswerTerms<Result>
  #held: HeldClaim | undefined
  #kept: Exclude<Kept, { kind: 'erased' }> | undefined
  #value: { readonly result: Result } | undefined
  #failed: { readonly error: unknown } | undefined
  #isStored = false

  constructor(terms: AnswerTerms<Result>) {
    this.#terms = terms
  }

  /** The claim under which the handler runs. */
  holds(held: HeldClaim): void {
    this.#held = held
  }

  /** What the handler returned, as a later caller gets it too. `undefined` if no handler has returned. */
  get value(): { readonly result: Result } | undefined {
    return this.#value
  }

  /** What the handler failed of for good. */
  get failed(): { readonly error: unknown } | undefined {
    return this.#failed
  }

  /** Takes what the handler returned, and writes it in the handler's transaction, if there is one. */
  async take(result: Result, { message }: Delivery, runner: StatementRunner | undefined): Promise<void> {
    const { store, codec, maxBytes, cipher } = this.#terms
    const bytes = encoded(codec, result, message.id)
    this.#kept = bytes.byteLength > maxBytes ? { kind: 'too-large' } : { kind: 'result', bytes }
    this.#value = { result: await decoded(codec, bytes) }
    this.#isStored = false
    const held = this.#held
    if (runner === undefined || store.keepResultIn === undefined || held === undefined) return
    // If the claim is lost, or in another database, the completion that follows says so.
    this.#isStored = (await store.keepResultIn(runner, held, await written(this.#kept, cipher, held, message))) === 'ok'
  }

  /** Takes the error that a later caller gets too. */
  fail(error: unknown, { message, attempt }: Delivery): void {
    this.#kept = { kind: 'failure', failure: failureFrom(error, message.id, attempt) }
    this.#failed = { error }
    this.#value = undefined
    this.#isStored = false
  }

  /**
   * Writes what no transaction has written. A store that fails does not fail the call: its effects have happened. The next
   * caller is then told that no result was kept.
   */
  async store({ message }: Delivery): Promise<void> {
    const { store, cipher } = this.#terms
    if (this.#isStored || this.#kept === undefined || this.#held === undefined) return
    try {
      await store.keepResult(this.#held, await written(this.#kept, cipher, this.#held, message))
      this.#isStored = true
    } catch (error) {
      if (storeFailed.active()) storeFailed.publish({ store: store.name, operation: 'keep', error })
    }
  }
}

/** What a delivery carries from the stage to the handler. */
export interface Answering {
  readonly answer: Pick<Answer<never>, 'take'>
}

function encoded<Result>(codec: AnswerTerms<Result>['codec'], result: Result, messageId: string): Uint8Array {
  try {
    return codec.encode(result) ?? new Uint8Array()
  } catch (cause) {
    throw new PermanentError(
      `remember: the result of message ${messageId} cannot be encoded: ${textOf(cause).errorMessage}`,
      { cause },
    )
  }
}

export async function decoded<Result>(codec: AnswerTerms<Result>['codec'], bytes: Uint8Array): Promise<Result> {
  return codec.decode(bytes, noHeaders)
}

/** JSON, and nothing for `undefined`. */
export const asJson: Pick<Codec<never>, 'encode' | 'decode'> = {
  encode: (result: unknown) => (result === undefined ? new Uint8Array() : Buffer.from(JSON.stringify(result))),
  decode: (bytes) =>
    (bytes === null || bytes.byteLength === 0 ? undefined : JSON.parse(Buffer.from(bytes).toString())) as never,
}
