import type { Delivery, Origin } from '../core/delivery.ts'
import { isFailureReason, type Failure, type FailureReason } from '../core/errors.ts'
import { firstHeader, headersFrom, withHeaders, type Bytes, type Headers, type Message } from '../core/message.ts'

/** What a dead letter says about itself, beside the untouched message. */
export interface DeadLetterMetadata {
  readonly reason: FailureReason
  readonly attempts: number
  /** When it was given up, in ms since 1970. */
  readonly timeMs: number
  /** How often it was dead-lettered, this time included: more than once means that a redrive did not help. */
  readonly count: number
  readonly pipeline: string
  readonly origin: Origin
  readonly errorName: string
  readonly errorMessage: string
  readonly errorStack: string | null
}

/** The prefix of every header of ours; what arrives with it from outside is overwritten. */
const prefix = 'holdfast-dead-'

// In the order in which they matter: what does not fit in the budget is cut from the end.
const names = {
  reason: `${prefix}reason`,
  attempts: `${prefix}attempts`,
  timeMs: `${prefix}time`,
  count: `${prefix}count`,
  pipeline: `${prefix}pipeline`,
  system: `${prefix}origin-system`,
  destination: `${prefix}origin-destination`,
  partition: `${prefix}origin-partition`,
  position: `${prefix}origin-position`,
  group: `${prefix}origin-group`,
  errorName: `${prefix}error-name`,
  errorMessage: `${prefix}error-message`,
  errorStack: `${prefix}error-stack`,
} as const
const fields = Object.keys(names) as (keyof typeof names)[]

const longestTextBytes = 1024

/** What is known about a message that is given up. */
export function metadataOf(
  delivery: Delivery,
  failure: Failure,
  timeMs: number,
  stack: string | null,
): DeadLetterMetadata {
  const { reason, attempts, errorName, errorMessage } = failure
  const before = firstHeader(delivery.message.headers, [names.count])
  return {
    reason,
    attempts,
    timeMs: Math.round(timeMs),
    count: (countFrom(before) ?? 0) + 1,
    pipeline: delivery.pipeline,
    origin: delivery.origin,
    errorName: cut(errorName, longestTextBytes),
    errorMessage: cut(errorMessage, longestTextBytes),
    errorStack: stack,
  }
}

/** The message with its metadata in headers of at most `maxBytes`; its body and its own headers are untouched. */
export function withMetadata(message: Message<Bytes>, metadata: DeadLetterMetadata, maxBytes: number): Message<Bytes> {
  const values: Readonly<Record<keyof typeof names, string | number | null>> = { ...metadata, ...metadata.origin }
  const more: Record<string, string> = {}
  let left = maxBytes
  for (const field of fields) {
    const name = names[field]
    const value = values[field]
    if (value === null) continue
    const text = cut(String(value), left - name.length)
    if (left <= name.length || (text === '' && value !== '')) break
    more[name] = text
    left -= name.length + Buffer.byteLength(text)
  }
  return { ...message, headers: withHeaders(withoutOurs(message.headers), more) }
}

/** A dead letter taken apart again: the message as it was before, and what was noted about it. */
export interface DeadLetter {
  readonly message: Message<Bytes>
  readonly metadata: DeadLetterMetadata
}

/** Reads a message from a dead-letter destination; `undefined` where it is none of ours. */
export function readDeadLetter(message: Message<Bytes>): DeadLetter | undefined {
  const text = (name: string): string | null => {
    const value = Object.hasOwn(message.headers, name) ? message.headers[name] : undefined
    return typeof value === 'string' ? value : null
  }
  const reason = text(names.reason)
  if (reason === null || !isFailureReason(reason)) return undefined
  return {
    message: { ...message, headers: withoutOurs(message.headers) },
    metadata: {
      reason,
      attempts: countFrom(text(names.attempts)) ?? 0,
      timeMs: countFrom(text(names.timeMs)) ?? 0,
      count: countFrom(text(names.count)) ?? 1,
      pipeline: text(names.pipeline) ?? '',
      origin: {
        system: text(names.system) ?? '',
        destination: text(names.destination) ?? '',
        partition: text(names.partition),
        position: text(names.position),
        group: text(names.group),
      },
      errorName: text(names.errorName) ?? '',
      errorMessage: text(names.errorMessage) ?? '',
      errorStack: text(names.errorStack),
    },
  }
}

function withoutOurs(headers: Headers): Headers {
  const others: [string, Headers[string]][] = []
  for (const name of Object.keys(headers)) {
    const value = headers[name]
    if (value !== undefined && !name.startsWith(prefix)) others.push([name, value])
  }
  return Object.keys(headers).length === others.length ? headers : headersFrom(others)
}

/** A count from a header, which anybody may have written. */
function countFrom(text: string | null | undefined): number | undefined {
  return typeof text === 'string' && /^\d{1,15}$/.test(text) ? Number(text) : undefined
}

/** As much of a text as fits in so many bytes of UTF-8, without half a character. */
function cut(text: string, maxBytes: number): string {
  if (maxBytes <= 0) return ''
  const bytes = Buffer.from(text)
  if (bytes.length <= maxBytes) return bytes.toString()
  let end = maxBytes
  // 10xxxxxx goes on with the character before it.
  while (end > 0 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--
  return bytes.toString('utf8', 0, end)
}
