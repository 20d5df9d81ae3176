import { context, createContextKey, type Attributes, type Context } from '@opentelemetry/api'
import type { Delivery } from '../delivery.ts'
import { subscribe } from '../events.ts'
import { errorText, errorType, setError, type Traced } from './process-span.ts'
import { attributes as names, ours, spanEvents } from './semconv.ts'

const tracedKey = createContextKey('holdfast traced delivery')

export function withTraced(of: Context, traced: Traced): Context {
  return of.setValue(tracedKey, traced)
}

/** Which span an event belongs to: a stage publishes it from within its delivery, so the context tells. */
function tracedNow({ message }: Delivery): Traced | undefined {
  const found = context.active().getValue(tracedKey)
  return isTraced(found) && found.messageId === message.id ? found : undefined
}

function isTraced(value: unknown): value is Traced {
  return typeof value === 'object' && value !== null && 'waitedMs' in value
}

function note(delivery: Delivery, name: string, attributes: Attributes = {}): void {
  tracedNow(delivery)?.span.addEvent(name, attributes)
}

let watching = false

/** Puts what the stages report onto the spans. Once per process, when the first pipeline is traced. */
export function watchEvents(): void {
  if (watching) return
  watching = true
  subscribe('attempt-failed', ({ delivery, error, attempt, nextInMs }) => {
    const traced = tracedNow(delivery)
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
    const traced = tracedNow(delivery)
    if (traced !== undefined) setError(traced.span, error)
  })
  subscribe('dead-letter-failed', ({ delivery, error }) =>
    note(delivery, spanEvents.deadLetterFailed, errorAttributes(error)),
  )
}

function errorAttributes(error: unknown): Attributes {
  return { [names.errorType]: errorType(error), [ours.errorMessage]: errorText(error) }
}
