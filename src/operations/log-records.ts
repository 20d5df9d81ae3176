import { systemClock, sleep, type Clock } from '../core/clock.ts'
import { checkOptions, clockKind, having, ms, number, required } from '../core/options.ts'
import { emitter } from '../core/events.ts'
import type { LetterOperations, OperatorAct } from '../dead-letter/store.ts'

/** An act of an operator as OpenTelemetry writes a log record. */
export interface OperatorLogRecord {
  readonly eventName: string
  /** In ms since 1970. */
  readonly timestamp: number
  readonly observedTimestamp: number
  readonly severityNumber: number
  readonly severityText: string
  readonly body: string
  readonly attributes: Readonly<Record<string, string>>
}

/** The receiver of the records: a `Logger` of `@opentelemetry/api-logs`. */
export interface LogRecordSink {
  emit(record: OperatorLogRecord): void
}

const eventName = 'holdfast.operator.act'
const info = 9

/** One act as a log record. `log.record.uid` is the same each time, so a backend can drop duplicates. */
export function logRecordOf({ id, atMs, by, act, letter, redrive, detail }: OperatorAct): OperatorLogRecord {
  const about = [...(letter === null ? [] : [`letter ${letter}`]), ...(redrive === null ? [] : [`redrive ${redrive}`])]
  return {
    eventName,
    timestamp: atMs,
    observedTimestamp: atMs,
    severityNumber: info,
    severityText: 'INFO',
    body: `${by}: ${act}${about.length === 0 ? '' : `, ${about.join(', ')}`}`,
    attributes: {
      'log.record.uid': `holdfast-operator-log-${id}`,
      'user.name': by,
      'holdfast.operator.act': act,
      ...(letter !== null && { 'holdfast.letter': letter }),
      ...(redrive !== null && { 'holdfast.redrive': redrive }),
      ...(detail !== null && detail !== undefined && { 'holdfast.operator.detail': JSON.stringify(detail) }),
    },
  }
}

/** Acts as a request in OTLP's JSON, for a file or a collector's `/v1/logs`. */
export function otlpOf(acts: readonly OperatorAct[]): unknown {
  const text = (value: string) => ({ stringValue: value.toWellFormed() })
  const pairs = (all: Readonly<Record<string, string>>) =>
    Object.entries(all).map(([key, value]) => ({ key, value: text(value) }))
  const nanoseconds = (at: number): string => `${BigInt(Math.round(at)) * 1_000_000n}`
  const logRecords = acts.map(logRecordOf).map((record) => ({
    timeUnixNano: nanoseconds(record.timestamp),
    observedTimeUnixNano: nanoseconds(record.observedTimestamp),
    severityNumber: record.severityNumber,
    severityText: record.severityText,
    eventName: record.eventName,
    body: text(record.body),
    attributes: pairs(record.attributes),
  }))
  return {
    resourceLogs: [
      {
        resource: { attributes: pairs({ 'service.name': 'holdfast' }) },
        scopeLogs: [{ scope: { name: 'holdfast' }, logRecords }],
      },
    ],
  }
}

export interface OperatorLogExportOptions {
  /** The store of the acts: `postgresDeadLetters(pool)`, or the letters of an operator store. */
  readonly letters: Pick<LetterOperations, 'log'>
  /** A `Logger` of `@opentelemetry/api-logs`. */
  readonly logger: LogRecordSink
  /** Acts from this time on, in ms since 1970. @defaultValue the start of `run` */
  readonly sinceMs?: number
  /** Poll interval in ms. @defaultValue 5000 */
  readonly pollMs?: number
  readonly clock?: Clock
}

const storeFailed = emitter('store-failed')
const pageSize = 500
// A statement that wrote its act under a lower number may commit later: so long it is looked for.
const lateMs = 60_000

/**
 * Hands every act to OpenTelemetry, oldest first, once in this run. Several processes, or a run that begins again at an
 * earlier time, send the same act with the same `log.record.uid`.
 */
export function operatorLogExport(options: OperatorLogExportOptions): { run(signal: AbortSignal): Promise<void> } {
  const {
    letters,
    logger,
    sinceMs,
    pollMs = 5000,
    clock = systemClock,
  } = checkOptions('operatorLogExport', options, {
    letters: required(having('log')),
    logger: required(having('emit')),
    sinceMs: number(-8.64e15),
    pollMs: ms(),
    clock: clockKind,
  })

  /** All acts of that time and later, newest first. */
  async function actsSince(fromMs: number): Promise<readonly OperatorAct[]> {
    const found: OperatorAct[] = []
    for (;;) {
      const before = found.at(-1)?.id
      const page = await letters.log({ limit: pageSize, ...(before !== undefined && { before }) })
      found.push(...page.filter(({ atMs }) => atMs >= fromMs))
      const last = page.at(-1)
      // Numbers and times may be out of step by as much as a late commit.
      if (page.length < pageSize || last === undefined || last.atMs < fromMs - lateMs) return found
    }
  }

  return {
    async run(signal) {
      const firstMs = sinceMs ?? clock.wall()
      let sent = new Map<string, number>()
      let fromMs = firstMs
      while (!signal.aborted) {
        try {
          const acts = await actsSince(fromMs)
          for (const act of acts.toReversed())
            if (!sent.has(act.id)) {
              logger.emit(logRecordOf(act))
              sent.set(act.id, act.atMs)
            }
          const newest = acts.reduce((latest, { atMs }) => Math.max(latest, atMs), fromMs)
          fromMs = Math.max(firstMs, newest - lateMs)
          sent = new Map([...sent].filter(([, atMs]) => atMs >= fromMs))
        } catch (error) {
          // The next look finds what this one missed.
          if (storeFailed.active()) storeFailed.publish({ store: 'operator log', operation: 'export', error })
        }
        await sleep(clock, pollMs, signal).catch(() => undefined)
      }
    },
  }
}
