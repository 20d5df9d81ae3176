import type { Bytes } from '../core/message.ts'
import type { Publisher, PublishOptions } from '../core/publisher.ts'

/** A message that was a dead letter, was redriven, and has now been handled. */
export interface ResolvedLetter {
  readonly pipeline: string
  /** Where the message came from when it was handled first. */
  readonly destination: string
  readonly id: string
  readonly key: string | null
  readonly body: Bytes
  /** Which redrive brought it. */
  readonly generation: number
}

/**
 * A place for dead letters that also wants to know when a redriven message was handled. `deadLetter()` tells it before the
 * ack, once and with its best effort: what is not told shows at the next redrive, where the key is found completed.
 */
export interface DeadLetterStore extends Publisher {
  resolved(letters: readonly ResolvedLetter[], options?: PublishOptions): Promise<void>
}

export function isDeadLetterStore(publisher: Publisher): publisher is DeadLetterStore {
  return 'resolved' in publisher && typeof publisher.resolved === 'function'
}
