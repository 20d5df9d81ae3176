import { PermanentError } from '../core/errors.ts'
import { firstHeader, withHeaders, type Bytes, type Headers, type HeaderValue } from '../core/message.ts'
import { badOption, checkArgument, checkOptions, having, oneOf, required, text } from '../core/options.ts'
import type { PublishMiddleware } from '../core/publisher.ts'
import type { Codec, Decoder } from '../core/codec.ts'
import { json, type JsonOptions, type Schema } from './json.ts'

/** An event and its context attributes, named as in CloudEvents 1.0: https://cloudevents.io */
export interface CloudEvent<Data> {
  readonly id: string
  readonly source: string
  readonly type: string
  readonly subject: string | null
  /** RFC 3339 */
  readonly time: string | null
  readonly dataContentType: string | null
  readonly dataSchema: string | null
  /** Extension attributes. */
  readonly extensions: Readonly<Record<string, string | number | boolean>>
  readonly data: Data
}

/**
 * Decodes CloudEvents of both modes. Structured: the whole event is JSON. Binary: the context is in `ce_…` headers and the
 * body is the data. The headers say which. The `data` codec decodes the data. A message without the context of a
 * CloudEvent is undecodable for good.
 */
export function cloudEvents<Data>(data: Decoder<Data>, limits: JsonOptions = {}): Decoder<CloudEvent<Data>> {
  checkArgument('cloudEvents', 'data', data, having('decode'))
  const structured = json(envelope, limits)
  return {
    name: `cloudevents+${data.name}`,
    async decode(bytes, headers, signal) {
      const contentType = firstHeader(headers, contentTypeNames) ?? null
      if (contentType?.toLowerCase().startsWith('application/cloudevents') !== true)
        return decodeBinary(data, bytes, headers, contentType, signal)
      if (!/^application\/cloudevents\+json\b/i.test(contentType))
        throw new PermanentError(`not a readable CloudEvent: ${contentType.slice(0, 80)}`)
      return decodeStructured(data, await structured.decode(bytes, headers), headers, signal)
    },
  }
}

export interface EncodeCloudEventsOptions {
  /** The producer of the events, as a URI reference such as `/billing/orders`. */
  readonly source: string
  /** @defaultValue `'binary'` */
  readonly mode?: 'binary' | 'structured'
  /** The media type of the data. @defaultValue `'application/json'` */
  readonly dataContentType?: string
}

/**
 * Publishes bodies as CloudEvents: `publisher(wire).use(encodeCloudEvents(json(Order), { source: '/billing' }))`.
 * The event gets the message's id, type and time.
 */
export function encodeCloudEvents<Data>(
  data: Pick<Codec<Data>, 'encode'>,
  options: EncodeCloudEventsOptions,
): PublishMiddleware<Data, Bytes> {
  checkArgument('encodeCloudEvents', 'data', data, having('encode'))
  const {
    source,
    mode = 'binary',
    dataContentType = 'application/json',
  } = checkOptions('encodeCloudEvents', options, {
    source: required(text),
    mode: oneOf('binary', 'structured'),
    dataContentType: text,
  })
  if (mode === 'structured' && !isJson(dataContentType))
    throw badOption('encodeCloudEvents', 'dataContentType', "JSON in mode 'structured'", dataContentType)

  return (next) => (messages, publishOptions) =>
    next(
      messages.map((message) => {
        const { id, type, timeMs, headers } = message
        const bytes = data.encode(message.body)
        const context = { specversion: '1.0', id, source, type, ...timeOf(timeMs) }
        if (mode === 'binary') {
          const named = Object.entries(context).map(([name, value]): [string, string] => [`ce_${name}`, value])
          const more = Object.fromEntries([...named, [contentType, dataContentType]])
          return { ...message, body: bytes, headers: withHeaders(headers, more) }
        }
        const value: unknown = bytes === null ? null : JSON.parse(Buffer.from(bytes).toString())
        const body = Buffer.from(JSON.stringify({ ...context, datacontenttype: dataContentType, data: value }))
        return { ...message, body, headers: withHeaders(headers, { [contentType]: structuredType }) }
      }),
      publishOptions,
    )
}

const contentType = 'content-type'
const contentTypeNames = [contentType, 'Content-Type', 'contentType']
const structuredType = 'application/cloudevents+json; charset=UTF-8'
/** Kafka writes `ce_id`, HTTP and NATS `ce-id`, AMQP `cloudEvents:id` or `cloudEvents_id`. */
const prefixes = ['ce_', 'ce-', 'cloudEvents:', 'cloudEvents_']
const standard = new Set(['specversion', 'id', 'source', 'type', 'subject', 'time', 'datacontenttype', 'dataschema'])

type Attributes = Readonly<Record<string, unknown>>

/** JSON's own bounds apply; what is in it is looked at below. */
const envelope: Schema<Attributes> = {
  '~standard': {
    version: 1,
    validate: (value) =>
      isRecord(value) ? { value } : { issues: [{ message: 'a structured CloudEvent must be an object' }] },
  },
}

async function decodeBinary<Data>(
  codec: Decoder<Data>,
  bytes: Bytes,
  headers: Headers,
  contentType: string | null,
  signal: AbortSignal | undefined,
): Promise<CloudEvent<Data>> {
  const attributes: Record<string, unknown> = Object.create(null) as Record<string, unknown>
  for (const [header, value] of Object.entries(headers)) {
    const prefix = prefixes.find((each) => header.startsWith(each))
    if (prefix !== undefined) attributes[header.slice(prefix.length).toLowerCase()] = textOf(value)
  }
  const data = await codec.decode(bytes, headers, signal)
  return eventOf({ ...attributes, datacontenttype: contentType ?? undefined }, data)
}

async function decodeStructured<Data>(
  codec: Decoder<Data>,
  event: Attributes,
  headers: Headers,
  signal: AbortSignal | undefined,
): Promise<CloudEvent<Data>> {
  const { data, data_base64: base64, ...attributes } = event
  let bytes: Bytes = null
  if (typeof base64 === 'string') bytes = Buffer.from(base64, 'base64')
  else if (typeof data === 'string' && !isJson(attributes['datacontenttype'])) bytes = Buffer.from(data)
  else if (data !== undefined && data !== null) bytes = Buffer.from(JSON.stringify(data))
  return eventOf(attributes, await codec.decode(bytes, headers, signal))
}

function eventOf<Data>(attributes: Attributes, data: Data): CloudEvent<Data> {
  if (attributes['specversion'] !== '1.0')
    throw new PermanentError(`no CloudEvent of version 1.0: specversion is ${shown(attributes['specversion'])}`)
  const extensions = Object.entries(attributes).filter(isExtension)
  return {
    id: requiredText(attributes, 'id'),
    source: requiredText(attributes, 'source'),
    type: requiredText(attributes, 'type'),
    subject: optionalText(attributes, 'subject'),
    time: optionalText(attributes, 'time'),
    dataContentType: optionalText(attributes, 'datacontenttype'),
    dataSchema: optionalText(attributes, 'dataschema'),
    extensions: Object.fromEntries(extensions),
    data,
  }
}

/** A time that no date can have, such as one from a hostile header, is left out. */
function timeOf(timeMs: number): { readonly time?: string } {
  const date = new Date(timeMs)
  return Number.isNaN(date.getTime()) ? {} : { time: date.toISOString() }
}

function requiredText(attributes: Attributes, name: string): string {
  const text = optionalText(attributes, name)
  if (text === null) throw new PermanentError(`a CloudEvent without ${name}`)
  return text
}

function optionalText(attributes: Attributes, name: string): string | null {
  const value = attributes[name]
  return typeof value === 'string' && value !== '' ? value : null
}

function isExtension(entry: [name: string, value: unknown]): entry is [string, string | number | boolean] {
  return !standard.has(entry[0]) && ['string', 'number', 'boolean'].includes(typeof entry[1])
}

function isRecord(value: unknown): value is Attributes {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

/** Without a media type the data is JSON, as the specification has it. */
function isJson(mediaType: unknown): boolean {
  return typeof mediaType !== 'string' || /^[^;]*[/+]json\b/i.test(mediaType)
}

function textOf(value: HeaderValue | readonly HeaderValue[]): string | undefined {
  const first: unknown = Array.isArray(value) ? value[0] : value
  return typeof first === 'string' ? first : undefined
}

function shown(value: unknown): string {
  return typeof value === 'string' ? `'${value.slice(0, 20)}'` : 'missing'
}
