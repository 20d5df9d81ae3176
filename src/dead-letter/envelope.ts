import type { Delivery, Origin } from '../core/delivery.ts'
import { isFailureReason, type ClaimName, type Failure, type FailureReason } from '../core/errors.ts'
import { firstHeader, headersFrom, withHeaders, type Bytes, type Headers, type Message } from '../core/message.ts'
import { historyFrom, historyText, longestHistory, type Death } from './history.ts'

/** The metadata that a dead letter adds to the untouched message. */
export interface DeadLetterMetadata {
  readonly reason: FailureReason
  readonly attempts: number
  /** When the message was given up, in ms since 1970. */
  readonly timeMs: number
  /** How many times the message was dead-lettered, this time included. More than 1 means that a redrive failed. */
  readonly count: number
  readonly pipeline: string
  readonly origin: Origin
  readonly errorName: string
  readonly errorMessage: string
  /** The error's own `code` if it has one: `23505`, `ECONNREFUSED`. */
  readonly errorCode: string | null
  readonly errorStack: string | null
  /** The scope of the `failed` claim in the idempotency store. */
  readonly claimScope: string | null
  readonly claimKey: string | null
  /** The last five times that the message was given up, this time included, oldest first. */
  readonly history: readonly Death[]
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
  claimScope: `${prefix}claim-scope`,
  claimKey: `${prefix}claim-key`,
  errorCode: `${prefix}error-code`,
  errorName: `${prefix}error-name`,
  errorMessage: `${prefix}error-message`,
  errorStack: `${prefix}error-stack`,
} as const
const historyName = `${prefix}history`
const fields = Object.keys(names) as (keyof typeof names)[]

const longestTextBytes = 1024

/** When, where and under which claim a message was given up. */
export interface Circumstances {
  readonly timeMs: number
  readonly stack: string | null
  readonly claim: ClaimName | undefined
  readonly host: string
  readonly version: string | null
}

/** What is known about a message that is given up. */
export function metadataOf(
  delivery: Delivery,
  failure: Failure,
  { timeMs, stack, claim, host, version }: Circumstances,
): DeadLetterMetadata {
  const { reason, attempts } = failure
  const errorName = cut(failure.errorName, longestTextBytes)
  const errorMessage = cut(failure.errorMessage, longestTextBytes)
  const death = { timeMs: Math.round(timeMs), errorName, errorMessage: cut(errorMessage, 200), host, version }
  const before = firstHeader(delivery.message.headers, [names.count])
  return {
    reason,
    attempts,
    timeMs: death.timeMs,
    count: (countFrom(before) ?? 0) + 1,
    pipeline: delivery.pipeline,
    origin: delivery.origin,
    errorName,
    errorMessage,
    errorCode: failure.errorCode ?? null,
    errorStack: stack,
    claimScope: claim?.scope ?? null,
    claimKey: claim?.key ?? null,
    history: [...historyFrom(firstHeader(delivery.message.headers, [historyName])), death].slice(-longestHistory),
  }
}

/** What `redact` took out of the error is taken out of the history too: its last entry is this very death. */
export function withRedactedHistory(metadata: DeadLetterMetadata): DeadLetterMetadata {
  const { history, errorName, errorMessage } = metadata
  const last = history.at(-1)
  if (last === undefined) return metadata
  return {
    ...metadata,
    history: [...history.slice(0, -1), { ...last, errorName, errorMessage: cut(errorMessage, 200) }],
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
  // Whole or not at all: half a JSON text says nothing.
  const history = historyText(metadata.history, left - historyName.length)
  if (history !== null) more[historyName] = history
  return { ...message, headers: withHeaders(withoutOurs(message.headers), more) }
}

/**
 * A dead letter split into the original message and its metadata. The message keeps the count and the history of its
 * deaths: if it is redriven and fails again, the count goes on.
 */
export interface DeadLetter {
  readonly message: Message<Bytes>
  readonly metadata: DeadLetterMetadata
}

/** Reads a message from a dead-letter destination. `undefined` if holdfast did not write it. */
export function readDeadLetter(message: Message<Bytes>): DeadLetter | undefined {
  const text = (name: string): string | null => {
    const value = Object.hasOwn(message.headers, name) ? message.headers[name] : undefined
    return typeof value === 'string' ? value : null
  }
  const reason = text(names.reason)
  if (reason === null || !isFailureReason(reason)) return undefined
  return {
    message: { ...message, headers: withoutOurs(message.headers, [names.count, historyName]) },
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
      errorCode: text(names.errorCode),
      errorStack: text(names.errorStack),
      claimScope: text(names.claimScope),
      claimKey: text(names.claimKey),
      history: historyFrom(text(historyName)),
    },
  }
}

function withoutOurs(headers: Headers, but: readonly string[] = []): Headers {
  const others: [string, Headers[string]][] = []
  for (const name of Object.keys(headers)) {
    const value = headers[name]
    if (value !== undefined && (!name.startsWith(prefix) || but.includes(name))) others.push([name, value])
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

/** The headers of a letter that was exported, as its line says. */
export function metadataHeaders(letter: object): readonly (readonly [string, string])[] {
  const read = (of: object, name: string): unknown => Reflect.get(of, name)
  const origin = read(letter, 'origin')
  const all: Readonly<Record<string, unknown>> = {
    ...letter,
    timeMs: read(letter, 'deadMs'),
    count: read(letter, 'deaths'),
    ...(typeof origin === 'object' && origin !== null ? origin : {}),
  }
  const history = read(letter, 'history')
  return [
    ...fields.flatMap((field) => {
      const value = all[field]
      const whole = typeof value === 'number' ? Math.round(value) : value
      return typeof whole === 'string' || typeof whole === 'number' ? [[names[field], String(whole)] as const] : []
    }),
    ...(Array.isArray(history) ? [[historyName, JSON.stringify(history)] as const] : []),
  ]
}
