import {
  consoleLogger,
  deliveryLines,
  errorFields,
  loggerKind,
  logLines,
  type Lines,
  type Logger,
} from './log-lines.ts'
import { checkArgument, checkOptions, list, oneOf } from '../core/options.ts'

export { consoleLogger, type Logger } from './log-lines.ts'

export interface LogOptions {
  /** Logs only these pipelines. Events without a pipeline (of a circuit, a store or a consumer) are always logged. @defaultValue all */
  readonly pipelines?: readonly string[]
  /** Only these events. @defaultValue all that need attention: not each success, not each renewal */
  readonly events?: readonly LoggedEvent[]
}

/** Logs a line per event, without bodies, keys or header values. The returned function stops it. */
export function logEvents(logger: Logger = consoleLogger, options: LogOptions = {}): () => void {
  const { pipelines, events = loggedEvents } = checkOptions('logEvents', options, { pipelines: list, events: list })
  checkArgument('logEvents', 'logger', logger, loggerKind)
  for (const name of events) checkArgument('logEvents', 'events', name, oneOf(...loggedEvents))
  return logLines(logger, lines, events, pipelines && new Set(pipelines))
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
  | 'option-failed'
  | 'circuit-changed'
  | 'consumer-changed'
  | 'outbox-shard-changed'
  | 'outbox-outage'
  | 'outbox-dead'
  | 'outbox-expired'
  | 'outbox-refused'

const lines: Lines<LoggedEvent> = {
  ...deliveryLines,
  discarded: ({ error, reason }) => ({
    level: 'info',
    message: 'discarded',
    fields: { reason, ...errorFields(error) },
  }),
  abandoned: () => ({ level: 'error', message: 'given up: its handler ignores its signal', fields: {} }),
  'conflict-seen': () => ({ level: 'warn', message: 'a known key arrived with other content', fields: {} }),
  'lease-lost': () => ({ level: 'warn', message: 'lost its lease', fields: {} }),
  'store-failed': ({ store, operation, error }) => ({
    level: 'error',
    message: 'store call failed',
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
    message: 'publishing a page of the outbox failed, it is retried',
    fields: { relay, shard, nextInMs: Math.round(nextInMs), ...errorFields(error) },
  }),
  'outbox-dead': ({ relay, shard, messageId, destination, error }) => ({
    level: 'error',
    message: 'the broker refused a message of the outbox for good',
    fields: { relay, shard, messageId, destination, ...errorFields(error) },
  }),
  'outbox-expired': ({ relay, shard, messageId, destination, expiredMs }) => ({
    level: 'warn',
    message: 'a message of the outbox expired before it was published, and is discarded',
    fields: { relay, shard, messageId, destination, expiredMs },
  }),
  'outbox-refused': ({ relay, reason }) => ({
    level: 'error',
    message: 'the outbox stopped until an operator acts',
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
  'option-failed',
  'circuit-changed',
  'consumer-changed',
  'outbox-shard-changed',
  'outbox-outage',
  'outbox-dead',
  'outbox-expired',
  'outbox-refused',
]
