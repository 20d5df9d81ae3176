import type { Clock } from '../core/clock.ts'
import { PublishError, type PublishFailure } from '../core/errors.ts'
import type { Outgoing } from '../core/publisher.ts'
import { inTime } from './in-time.ts'

/** A message with its place in the caller's list. */
export interface Numbered {
  readonly index: number
  readonly message: Outgoing
}

/** What a broker's error is about: all messages to one destination, some message of the request, or neither (an outage). */
export type Blame = 'destination' | 'message' | 'nobody'

export interface HalvingPublish {
  /** For error texts, such as `Kafka`. */
  readonly broker: string
  /** One request. Resolves when the broker has answered for all of it, with the messages that it refused each by itself. */
  readonly send: (numbered: readonly Numbered[], ended: () => boolean) => Promise<readonly PublishFailure[] | void>
  readonly blames: (error: unknown) => Blame
  /** The broker's reason, for the error text. */
  readonly reason: (error: unknown) => string
  /** A confirmation that has not come by then is an outage: nobody knows what was written. */
  readonly timeoutMs: number
  readonly clock: Clock
}

/**
 * Sends a list as one request. Where the broker refuses it because of some message, the list is sent again in halves, in
 * order, until each refused message is alone. What was written before may be written again.
 * @throws PublishError naming the messages that the broker will never take. Anything else is an outage.
 */
export async function publishInHalves(
  messages: readonly Outgoing[],
  signal: AbortSignal | undefined,
  how: HalvingPublish,
): Promise<void> {
  if (messages.length === 0) return
  signal?.throwIfAborted()
  const search = new RefusalSearch(how)
  const numbered = messages.map((message, index) => ({ index, message }))
  try {
    const failures = await inTime(search.inTurn([numbered]), signal, how)
    const [first] = failures
    if (first === undefined) return
    const text = `${failures.length} of ${messages.length} messages were refused by ${how.broker}: ${how.reason(first.error)}`
    throw new PublishError(text, failures, { cause: first.error })
  } finally {
    search.end()
  }
}

class RefusalSearch {
  readonly #how: HalvingPublish
  // The caller was told of an outage and may be sending again: nothing may be written behind its back.
  #ended = false

  constructor(how: HalvingPublish) {
    this.#how = how
  }

  end(): void {
    this.#ended = true
  }

  async inTurn(parts: readonly (readonly Numbered[])[]): Promise<PublishFailure[]> {
    const failures: PublishFailure[] = []
    for (const part of parts) {
      if (this.#ended) break
      try {
        failures.push(...((await this.#how.send(part, () => this.#ended)) ?? []))
      } catch (error) {
        failures.push(...(await this.#isolate(part, error)))
      }
    }
    return failures
  }

  async #isolate(numbered: readonly Numbered[], error: unknown): Promise<PublishFailure[]> {
    const blamed = this.#how.blames(error)
    if (blamed === 'nobody') throw error
    const destinations = [...byDestination(numbered).values()]
    if (destinations.length > 1) return this.inTurn(destinations)
    if (blamed === 'destination' || numbered.length === 1)
      return numbered.map(({ index }) => ({ index, error, permanent: true }))
    const half = numbered.length >> 1
    return this.inTurn([numbered.slice(0, half), numbered.slice(half)])
  }
}

/** The messages of each destination, in their order. */
export function byDestination(numbered: readonly Numbered[]): ReadonlyMap<string, readonly Numbered[]> {
  return Map.groupBy(numbered, ({ message }) => message.destination)
}
