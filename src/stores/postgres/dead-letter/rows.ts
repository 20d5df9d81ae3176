import {
  headersFrom,
  headerText,
  isRepeated,
  type Headers,
  type HeaderValue,
  type Message,
  type Bytes,
} from '../../../core/message.ts'
import { redrivenFrom, redriveHeader, redriveToHeader } from '../../../core/redrive.ts'
import { readDeadLetter, type DeadLetter } from '../../../dead-letter/envelope.ts'
import { fingerprintOf } from '../../../dead-letter/fingerprint.ts'
import { foldOf } from '../../../dead-letter/fold.ts'
import { historyFrom } from '../../../dead-letter/history.ts'
import type { Letter, LetterState, LetterSummary } from '../../../dead-letter/store.ts'
import { PermanentError } from '../../../core/errors.ts'
import { field, numberField, textField } from '../rows.ts'
import type { Bodies } from './bodies.ts'
import type { BuriedRow } from './statements.ts'

export interface RowOptions {
  readonly bodies: Bodies
  readonly subject: (letter: DeadLetter) => string | null | undefined
  readonly fingerprint: (letter: DeadLetter) => string
}

/** A store that refuses one message for good stops its pipeline for good. So it keeps every text. */
export function storable(text: string): string {
  return text.toWellFormed().replaceAll('\0', '\\0')
}

/** The same for JSON, whose texts and names may hold what `jsonb` refuses: NUL and halves of surrogate pairs. */
export function storableJson(value: unknown): string {
  return JSON.stringify(value, (_, each: unknown) => {
    if (typeof each === 'string') return storable(each)
    if (typeof each !== 'object' || each === null || Array.isArray(each)) return each
    return Object.fromEntries(Object.entries(each).map(([name, of]) => [storable(name), of as unknown]))
  })
}

const orNull = (text: string | null | undefined): string | null =>
  text === null || text === undefined ? null : storable(text)

export function defaultFingerprint({ metadata }: DeadLetter): string {
  return fingerprintOf(metadata)
}

/** What is kept of a dead letter. */
export function rowOf(message: Message<Bytes>, { bodies, subject, fingerprint }: RowOptions): BuriedRow {
  const dead = readDeadLetter(message)
  if (dead === undefined)
    throw new PermanentError(
      `message ${message.id} is no dead letter of holdfast: it has no header holdfast-dead-reason`,
    )
  const { message: original, metadata } = dead
  const { id, key, body, headers } = original
  const redriven = redrivenFrom(headers)
  const { pipeline, origin } = metadata
  const destination = redriven?.destination ?? origin.destination
  const fold = foldOf({ pipeline, destination, id, key, body })
  return {
    fold,
    generation: redriven?.generation ?? 0,
    pipeline: storable(pipeline),
    system: storable(origin.system),
    destination: storable(destination),
    partition: orNull(origin.partition),
    position: orNull(origin.position),
    origin_group: orNull(origin.group),
    message_id: storable(id),
    key: orNull(key),
    type: storable(original.type),
    produced_ms: Number.isFinite(original.timeMs) ? original.timeMs : 0,
    exact: exactly(original),
    headers: headersToBytes(headers),
    body: bodies.seal(body, fold),
    body_key: body === null ? null : bodies.keyId,
    reason: metadata.reason,
    error_name: storable(metadata.errorName),
    error_code: orNull(metadata.errorCode),
    error_message: storable(metadata.errorMessage),
    error_stack: orNull(metadata.errorStack),
    history: Buffer.from(JSON.stringify(metadata.history)),
    fingerprint: storable(fingerprint(dead)).slice(0, 200),
    attempts: Math.min(metadata.attempts, 2 ** 31 - 1),
    trace_id: traceIdOf(headers),
    subject: orNull(subject(dead)),
    claim_scope: orNull(metadata.claimScope),
    claim_key: orNull(metadata.claimKey),
  }
}

/** JSON writes NUL and half a surrogate pair as escapes: nothing is lost. */
function exactly({ id, key, type }: Message<Bytes>): Buffer | null {
  const plain = [id, key, type].every((text) => text === null || text === storable(text))
  return plain ? null : Buffer.from(JSON.stringify([id, key, type]))
}

function exactFrom(row: unknown): { messageId: string; key: string | null; type: string } {
  const exact = field(row, 'exact')
  const [id, key, type] =
    exact instanceof Uint8Array
      ? (JSON.parse(Buffer.from(exact).toString()) as [string, string | null, string])
      : [textField(row, 'message_id') ?? '', textField(row, 'key'), textField(row, 'type') ?? '']
  return { messageId: id, key, type }
}

function traceIdOf(headers: Headers): string | null {
  return /^[0-9a-f]{2}-([0-9a-f]{32})-/.exec(headerText(headers, 'traceparent') ?? '')?.[1] ?? null
}

type Encoded = string | { readonly b64: string }

/** Pairs in JSON in UTF-8: any name, text with NUL, bytes as base64. The permission of a redrive is spent, and not kept. */
export function headersToBytes(headers: Headers): Buffer | null {
  const encode = (value: HeaderValue): Encoded =>
    typeof value === 'string' ? value : { b64: Buffer.from(value).toString('base64') }
  const pairs = Object.keys(headers)
    .filter((name) => name !== redriveHeader && name !== redriveToHeader)
    .map((name) => {
      const value = headers[name] ?? ''
      return [name, isRepeated(value) ? value.map(encode) : encode(value)]
    })
  return pairs.length === 0 ? null : Buffer.from(JSON.stringify(pairs))
}

export function headersFromBytes(bytes: unknown): Headers {
  if (!(bytes instanceof Uint8Array)) return headersFrom([])
  const decode = (value: unknown): HeaderValue => {
    const b64 = field(value, 'b64')
    return typeof b64 === 'string' ? Buffer.from(b64, 'base64') : String(value)
  }
  const pairs = JSON.parse(Buffer.from(bytes).toString()) as readonly (readonly [string, unknown])[]
  return headersFrom(
    pairs.map(([name, value]) => [name, Array.isArray(value) ? value.map(decode) : decode(value)] as const),
  )
}

/** The columns of a summary, as SQL; texts are cut there, so that a list of hostile letters stays small. */
export const summaryColumns = `d.id::text, d.state, d.pipeline, left(d.destination, 250) as destination,
  left(d.message_id, 250) as message_id, left(d.key, 250) as key, d.reason, left(d.error_name, 250) as error_name,
  left(d.error_message, 500) as error_message, d.fingerprint, d.deaths, d.redrives,
  extract(epoch from d.dead_at)::float8 * 1000 as dead_ms`

export function summaryFrom(row: unknown): LetterSummary {
  return {
    id: textField(row, 'id') ?? '',
    state: stateFrom(row),
    pipeline: textField(row, 'pipeline') ?? '',
    destination: textField(row, 'destination') ?? '',
    messageId: textField(row, 'message_id') ?? '',
    key: textField(row, 'key'),
    reason: textField(row, 'reason') ?? '',
    errorName: textField(row, 'error_name') ?? '',
    errorMessage: textField(row, 'error_message') ?? '',
    group: textField(row, 'fingerprint') ?? '',
    deaths: numberField(row, 'deaths'),
    redrives: numberField(row, 'redrives'),
    deadMs: numberField(row, 'dead_ms'),
  }
}

export const letterStates: readonly LetterState[] = ['dead', 'redriving', 'resolved', 'replaced', 'dropped']

function stateFrom(row: unknown): LetterState {
  const state = textField(row, 'state')
  return letterStates.find((each) => each === state) ?? 'dead'
}

/** The columns of a whole letter, as SQL. */
export const letterColumns = `d.id::text, d.fold::text, d.state, d.generation::text, d.settled::text, d.redrives, d.deaths,
  d.attempts, d.pipeline, d.system, d.destination, d.partition, d.position, d.origin_group, d.message_id, d.key, d.type,
  d.produced_ms, d.exact, d.headers, d.body, d.body_key, d.reason, d.error_name, d.error_code, d.error_message, d.error_stack,
  d.history, d.fingerprint, d.trace_id, d.subject, d.claim_scope, d.claim_key, d.replaces::text, d.replaced_by::text,
  extract(epoch from d.first_at)::float8 * 1000 as first_ms, extract(epoch from d.dead_at)::float8 * 1000 as dead_ms,
  extract(epoch from d.changed_at)::float8 * 1000 as changed_ms`

export function letterFrom(row: unknown, bodies: Bodies): Letter {
  const stored = field(row, 'body')
  const history = field(row, 'history')
  const destination = textField(row, 'destination') ?? ''
  const bodyKey = textField(row, 'body_key')
  return {
    ...summaryFrom(row),
    destination,
    origin: {
      system: textField(row, 'system') ?? '',
      destination,
      partition: textField(row, 'partition'),
      position: textField(row, 'position'),
      group: textField(row, 'origin_group'),
    },
    ...exactFrom(row),
    producedMs: numberField(row, 'produced_ms'),
    headers: headersFromBytes(field(row, 'headers')),
    body: bodies.open(stored instanceof Uint8Array ? stored : null, bodyKey, textField(row, 'fold') ?? ''),
    bodyKey,
    errorCode: textField(row, 'error_code'),
    errorStack: textField(row, 'error_stack'),
    attempts: numberField(row, 'attempts'),
    traceId: textField(row, 'trace_id'),
    subject: textField(row, 'subject'),
    claimScope: textField(row, 'claim_scope'),
    claimKey: textField(row, 'claim_key'),
    history: historyFrom(history instanceof Uint8Array ? Buffer.from(history).toString() : null),
    replaces: textField(row, 'replaces'),
    replacedBy: textField(row, 'replaced_by'),
    firstMs: numberField(row, 'first_ms'),
    changedMs: numberField(row, 'changed_ms'),
    generation: numberField(row, 'generation'),
    settled: numberField(row, 'settled'),
    claimState: textField(row, 'claim_state'),
  }
}
