import { isPermanent, PublishError, type PublishFailure } from './errors.ts'
import { failuresIn, type Outgoing, type PublishMiddleware } from './publisher.ts'

/**
 * A middleware that turns each body into another one, where that may fail for a single message. A message whose `turn`
 * throws a permanent error is refused, and the others are published. Any other error is an outage: nothing is published.
 */
export function publishEach<Outer, Inner>(
  turn: (message: Outgoing<Outer>) => Promise<Outgoing<Inner>> | Outgoing<Inner>,
): PublishMiddleware<Outer, Inner> {
  return (next) =>
    async function publishEach(messages, options) {
      const turned: Outgoing<Inner>[] = []
      // The place in the caller's list of each message that goes on.
      const places: number[] = []
      const failures: PublishFailure[] = []
      for (const [index, message] of messages.entries()) {
        options?.signal?.throwIfAborted()
        try {
          turned.push(await turn(message))
          places.push(index)
        } catch (error) {
          if (!isPermanent(error)) throw error
          failures.push({ index, error, permanent: true })
        }
      }
      try {
        if (turned.length > 0) await next(turned, options)
      } catch (error) {
        const below = failuresIn(error, turned.length)
        if (below === undefined) throw error
        for (const failure of below) failures.push({ ...failure, index: places[failure.index] ?? -1 })
      }
      if (failures.length > 0)
        throw new PublishError(`${failures.length} of ${messages.length} messages were not published`, failures)
    }
}
