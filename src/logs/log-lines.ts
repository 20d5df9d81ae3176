import type { Delivery } from '../core/delivery.ts'
import { isRetryLater, textOf } from '../core/errors.ts'
import { subscribe, type EventName, type Events } from '../core/events.ts'
import { having, type Kind } from '../core/options.ts'

/** A logger such as pino, or {@link consoleLogger}. */
export interface Logger {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
  error(fields: object, message: string): void
}

export const loggerKind: Kind = having('info', 'warn', 'error')

/** Writes one line per call to the console: the message, then the fields. */
export const consoleLogger: Logger = {
  info: (fields, message) => console.info(line(fields, message)),
  warn: (fields, message) => console.warn(line(fields, message)),
  error: (fields, message) => console.error(line(fields, message)),
}

export interface Line {
  readonly level: keyof Logger
  readonly message: string
  readonly fields: object
}

export type Lines<Name extends EventName> = { readonly [Each in Name]: (event: Events[Each]) => Line }

/** What `resilient()` says by itself. */
export const deliveryLines: Lines<'nacked' | 'dead-lettered' | 'dead-letter-failed' | 'option-failed'> = {
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
  'dead-letter-failed': ({ error, destination }) => ({
    level: 'error',
    message: 'dead letter publish failed: does the destination exist, and may we write to it?',
    fields: { deadLetters: destination, ...errorFields(error) },
  }),
  'option-failed': ({ option, error }) => ({
    level: 'error',
    message: 'a function given as an option failed, the default was taken instead',
    fields: { option, ...errorFields(error) },
  }),
}

/** Writes a line for each event of these names. The returned function ends it. */
export function logLines<Name extends EventName>(
  logger: Logger,
  lines: Lines<Name>,
  names: readonly Name[],
  pipelines?: ReadonlySet<string>,
): () => void {
  const listen = <Each extends Name>(name: Each): (() => void) =>
    subscribe(name, (event) => {
      const delivery = 'delivery' in event ? event.delivery : undefined
      if (pipelines !== undefined && delivery !== undefined && !pipelines.has(delivery.pipeline)) return
      writeLine(logger, name, delivery, lines[name](event))
    })
  const stops = names.map((name) => listen(name))
  return () => {
    for (const stop of stops) stop()
  }
}

export function writeLine(logger: Logger, event: EventName, delivery: Delivery | undefined, line: Line): void {
  logger[line.level]({ event, ...(delivery && fieldsOf(delivery)), ...line.fields }, line.message)
}

function fieldsOf({ message, pipeline, origin, attempt }: Delivery): object {
  const { destination, partition, position } = origin
  return { pipeline, messageId: message.id, type: message.type, destination, partition, position, attempt }
}

export function errorFields(error: unknown): object {
  const { errorName, errorMessage } = textOf(error)
  if (typeof error !== 'object') return { error: errorName, errorMessage }
  try {
    const code: unknown = error === null ? undefined : Reflect.get(error, 'code')
    return {
      error: typeof code === 'string' || typeof code === 'number' ? `${errorName} (${code})` : errorName,
      errorMessage,
    }
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
