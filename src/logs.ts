import type { Delivery } from './delivery.ts'
import { isRetryLater, textOf } from './errors.ts'
import { subscribe, type Events } from './events.ts'
import { requireMethods, requireOneOf } from './options.ts'

/** What pino offers, and what {@link consoleLogger} makes of the console. */
export interface Logger {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

/** One line each: the message, then the fields. */
export const consoleLogger: Logger = {
  info: (fields, message) => console.info(line(fields, message)),
  warn: (fields, message) => console.warn(line(fields, message)),
  error: (fields, message) => console.error(line(fields, message)),
}

export interface LogOptions {
  /** Only these pipelines. What belongs to no pipeline (a circuit, a store, a consumer) is always logged. @defaultValue all */
  readonly pipelines?: readonly string[]
  /** Only these events. @defaultValue all that need attention: not each success, not each renewal */
  readonly events?: readonly LoggedEvent[]
}

/** Turns events into log lines, without bodies, keys or header values. The returned function ends it. */
export function logEvents(
  logger: Logger = consoleLogger,
  { pipelines, events = loggedEvents }: LogOptions = {},
): () => void {
  requireMethods('logEvents', 'logger', logger, ['info', 'warn', 'error'])
  for (const name of events) requireOneOf('logEvents', 'events', name, loggedEvents)
  const wanted = pipelines && new Set(pipelines)

  function listen<Name extends LoggedEvent>(name: Name): () => void {
    return subscribe(name, (event) => {
      const delivery = 'delivery' in event ? event.delivery : undefined
      if (wanted !== undefined && delivery !== undefined && !wanted.has(delivery.pipeline)) return
      const { level, message, fields } = lines[name](event)
      logger[level]({ event: name, ...(delivery && fieldsOf(delivery)), ...fields }, message)
    })
  }

  const stops = events.map((name) => listen(name))
  return () => {
    for (const stop of stops) stop()
  }
}

interface Line {
  readonly level: keyof Logger
  readonly message: string
  readonly fields: object
}

export type LoggedEvent =
  | 'nacked'
  | 'dead-lettered'
  | 'dead-letter-failed'
  | 'discarded'
  | 'abandoned'
  | 'conflict-seen'
  | 'lease-lost'
  | 'store-failed'
  | 'circuit-changed'
  | 'consumer-changed'
  | 'outbox-shard-changed'
  | 'outbox-outage'
  | 'outbox-dead'
  | 'outbox-refused'

const lines: { readonly [Name in LoggedEvent]: (event: Events[Name]) => Line } = {
  nacked({ error }) {
    // Waiting behind another process is everyday life.
    const level = isRetryLater(error) && error.holds === 'lane' ? 'info' : 'warn'
    const when = isRetryLater(error) ? { afterMs: Math.round(error.afterMs), holds: error.holds } : {}
    return { level, message: 'handed back', fields: { ...errorFields(error), ...when } }
  },
  'dead-lettered': ({ error, reason }) => ({
    level: 'error',
    message: 'dead-lettered',
    fields: { reason, ...errorFields(error) },
  }),
  'dead-letter-failed': ({ error }) => ({
    level: 'error',
    message: 'not taken by the dead letter',
    fields: errorFields(error),
  }),
  discarded: ({ error, reason }) => ({
    level: 'info',
    message: 'discarded',
    fields: { reason, ...errorFields(error) },
  }),
  abandoned: () => ({ level: 'error', message: 'given up: its handler ignores its signal', fields: {} }),
  'conflict-seen': () => ({ level: 'warn', message: 'a known key came with another content', fields: {} }),
  'lease-lost': () => ({ level: 'warn', message: 'lost its lease', fields: {} }),
  'store-failed': ({ store, operation, error }) => ({
    level: 'error',
    message: 'no answer from a store',
    fields: { store, operation, ...errorFields(error) },
  }),
  'circuit-changed': ({ name, from, to }) => ({
    level: to === 'closed' ? 'info' : 'warn',
    message: `circuit ${to}`,
    fields: { circuit: name, from },
  }),
  'consumer-changed': ({ system, group, change, detail, error }) => ({
    level: error === undefined ? 'info' : 'error',
    message: `consumer ${change}`,
    fields: { system, group, ...detail, ...(error === undefined ? {} : errorFields(error)) },
  }),
  'outbox-shard-changed': ({ relay, shard, epoch, change, error }) => ({
    level: change === 'lost' || change === 'failed' ? 'warn' : 'info',
    message: `outbox shard ${change}`,
    fields: { relay, shard, epoch: String(epoch), ...(error === undefined ? {} : errorFields(error)) },
  }),
  'outbox-outage': ({ relay, shard, error, nextInMs }) => ({
    level: 'warn',
    message: 'the broker did not take a page of the outbox',
    fields: { relay, shard, nextInMs: Math.round(nextInMs), ...errorFields(error) },
  }),
  'outbox-dead': ({ relay, shard, messageId, destination, error }) => ({
    level: 'error',
    message: 'the broker refused a message of the outbox for good',
    fields: { relay, shard, messageId, destination, ...errorFields(error) },
  }),
  'outbox-refused': ({ relay, reason }) => ({
    level: 'error',
    message: 'the outbox waits for an operator',
    fields: { relay, reason },
  }),
}

const loggedEvents: readonly LoggedEvent[] = [
  'nacked',
  'dead-lettered',
  'dead-letter-failed',
  'discarded',
  'abandoned',
  'conflict-seen',
  'lease-lost',
  'store-failed',
  'circuit-changed',
  'consumer-changed',
  'outbox-shard-changed',
  'outbox-outage',
  'outbox-dead',
  'outbox-refused',
]

function fieldsOf({ message, pipeline, origin, attempt }: Delivery): object {
  const { destination, partition, position } = origin
  return { pipeline, messageId: message.id, type: message.type, destination, partition, position, attempt }
}

function errorFields(error: unknown): object {
  const { errorName, errorMessage } = textOf(error)
  try {
    if (!(error instanceof Error)) return { error: errorName }
    return { error: 'code' in error ? `${errorName} (${String(error.code)})` : errorName, errorMessage }
  } catch {
    return { error: errorName, errorMessage }
  }
}

function line(fields: object, message: string): string {
  const shown = Object.entries(fields).filter(([, value]) => value !== null && value !== undefined)
  return `holdfast ${message} ${shown.map(([name, value]) => `${name}=${printed(value)}`).join(' ')}`
}

/** As JSON, where it can be: a line of log must not throw. */
function printed(value: unknown): string {
  try {
    return typeof value === 'bigint' ? `"${value}"` : JSON.stringify(value)
  } catch {
    return JSON.stringify(Object.prototype.toString.call(value))
  }
}
