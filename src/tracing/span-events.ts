import type { Attributes } from '@opentelemetry/api'
import type { Delivery } from '../core/delivery.ts'
import { subscribe } from '../core/events.ts'
import { errorText, errorType, setError, tracedOf } from './process-span.ts'
import { attributes as names, ours, spanEvents } from './semconv.ts'

function note(delivery: Delivery, name: string, attributes: Attributes = {}): void {
  tracedOf(delivery)?.span.addEvent(name, attributes)
}

let watching = false

/** Puts what the stages report onto the spans. Once per process, when the first pipeline is traced. */
export function watchEvents(): void {
  if (watching) return
  watching = true
  subscribe('attempt-failed', ({ delivery, error, attempt, nextInMs }) => {
    const traced = tracedOf(delivery)
    if (traced === undefined) return
    // Where another attempt follows, it is that one which the delivery ends with.
    traced.attempt = nextInMs === null ? attempt : attempt + 1
    traced.waitedMs += nextInMs ?? 0
    traced.span.addEvent(spanEvents.attemptFailed, {
      [ours.attempt]: attempt,
      ...errorAttributes(error),
      ...(nextInMs !== null && { [ours.retryAfterMs]: nextInMs }),
    })
  })
  subscribe('retry-refused', ({ delivery }) => note(delivery, spanEvents.retryRefused))
  subscribe('abandoned', ({ delivery, afterMs }) =>
    note(delivery, spanEvents.abandoned, { [ours.abandonedAfterMs]: afterMs }),
  )
  subscribe('duplicate-seen', ({ delivery, suppressed }) =>
    note(delivery, spanEvents.duplicate, { [ours.suppressed]: suppressed }),
  )
  subscribe('conflict-seen', ({ delivery }) => note(delivery, spanEvents.conflict))
  subscribe('dead-lettered', ({ delivery, error, reason }) => {
    note(delivery, spanEvents.deadLettered, { [ours.reason]: reason })
    const traced = tracedOf(delivery)
    if (traced !== undefined) setError(traced.span, error)
  })
  subscribe('dead-letter-failed', ({ delivery, error }) =>
    note(delivery, spanEvents.deadLetterFailed, errorAttributes(error)),
  )
}

function errorAttributes(error: unknown): Attributes {
  return { [names.errorType]: errorType(error), [ours.errorMessage]: errorText(error) }
}
