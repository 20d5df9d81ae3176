import type { JsMsg } from '@nats-io/jetstream'
import { headers as natsHeaders, type MsgHdrs } from '@nats-io/transport-node'
import {
  asHeaderValue,
  emptyHeaders,
  firstHeader,
  headerText,
  keyFromBytes,
  timeFrom,
  wireNames,
  isRepeated,
  type Bytes,
  type Headers,
  type HeaderValue,
  type Message,
} from '../../core/message.ts'
import { eachHeader } from './header-block.ts'

/** A message as the client sends it. */
export interface NatsContent {
  readonly headers: MsgHdrs
  readonly data: Uint8Array
}

// NATS has no keys and no tombstones.
const keyHeader = 'message-key'
const tombstoneHeader = 'message-tombstone'

// A header's value is one trimmed line of text. Anything else travels behind one of these marks.
const escapedAny = 'holdfast'
const escapedName = 'holdfast%'
const escapedText = 'holdfast%:'
const escapedBytes = 'holdfast64:'
const plainName = /^[!-9;-~]+$/
const plainText = /^[\t -~\u00a0-\ud7ff\ue000-\uffff]*$/

/** @throws where the client can never carry one of the headers. */
export function contentFrom({ id, type, timeMs, key, headers, body }: Message<Bytes>): NatsContent {
  const written = natsHeaders()
  for (const [name, value] of Object.entries(headers))
    for (const each of isRepeated(value) ? value : [value]) written.append(nameOut(name), valueOut(each))
  written.set(wireNames.id[0], valueOut(id))
  written.set(wireNames.type[0], valueOut(type))
  written.set(wireNames.time[0], String(timeMs))
  if (key !== null) written.set(keyHeader, valueOut(key))
  if (body === null) written.set(tombstoneHeader, '1')
  return { headers: written, data: body ?? new Uint8Array() }
}

/** A message as it is read. */
export interface ReadMessage extends Message<Bytes> {
  /** Empty where its producer gave none. */
  id: string
}

/** What of a message is read. */
export type Readable = Pick<JsMsg, 'headers' | 'data' | 'subject' | 'time'>

/** Never throws. */
export function messageFrom(raw: Readable): ReadMessage {
  const { carried, key, isTombstone } = readHeaders(raw)
  return {
    id: firstHeader(carried, wireNames.id) ?? headerText(carried, 'Nats-Msg-Id') ?? '',
    type: firstHeader(carried, wireNames.type) ?? raw.subject,
    key,
    headers: carried,
    body: isTombstone ? null : raw.data,
    timeMs: timeOf(carried, raw),
  }
}

/** The server's time is asked for only where it is needed: the client makes a date of it each time. */
function timeOf(headers: Headers, raw: Pick<JsMsg, 'time'>): number {
  const time = timeFrom(headers, NaN)
  return Number.isNaN(time) ? raw.time.getTime() : time
}

interface ReadHeaders {
  readonly carried: Record<string, HeaderValue | readonly HeaderValue[]>
  key: string | null
  isTombstone: boolean
}

function readHeaders(raw: Readable): ReadHeaders {
  const read: ReadHeaders = { carried: emptyHeaders(), key: null, isTombstone: false }
  eachHeader(raw, (name, value) => addTo(read, name, value))
  return read
}

function addTo(read: ReadHeaders, written: string, text: string): void {
  const value = valueIn(text)
  if (written === keyHeader) read.key ??= typeof value === 'string' ? value : keyFromBytes(value)
  else if (written === tombstoneHeader) read.isTombstone = true
  else {
    const name = nameIn(written)
    const before = read.carried[name]
    if (before === undefined) read.carried[name] = value
    else read.carried[name] = isRepeated(before) ? [...before, value] : [before, value]
  }
}

function nameOut(name: string): string {
  const isPlain = plainName.test(name) && !name.startsWith(escapedName) && !name.startsWith('Nats-')
  return isPlain ? name : escapedName + encodeURIComponent(name)
}

function nameIn(name: string): string {
  return name.startsWith(escapedName) ? decoded(name.slice(escapedName.length)) : name
}

function valueOut(value: HeaderValue): string {
  if (typeof value !== 'string') return escapedBytes + Buffer.from(value).toString('base64')
  const isMarked = value.startsWith(escapedBytes) || value.startsWith(escapedText)
  const isPlain = plainText.test(value) && value.trim() === value && !isMarked
  return isPlain ? value : escapedText + encodeURIComponent(value.toWellFormed())
}

function valueIn(value: string): HeaderValue {
  if (!value.startsWith(escapedAny)) return value
  if (value.startsWith(escapedBytes)) return asHeaderValue(Buffer.from(value.slice(escapedBytes.length), 'base64'))
  return value.startsWith(escapedText) ? decoded(value.slice(escapedText.length)) : value
}

/** What somebody else wrote behind our mark stays as it is. */
function decoded(text: string): string {
  try {
    return decodeURIComponent(text)
  } catch {
    return text
  }
}
