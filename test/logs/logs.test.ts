import { channel } from 'node:diagnostics_channel'
import { pino } from 'pino'
import { afterEach, describe, expect, it, vi } from 'vitest'
import { headersFrom, pipeline, PermanentError, RetryLater } from 'holdfast'
import { consoleLogger, logEvents, type Logger } from 'holdfast/logs'
import type { Delivery } from '../../src/core/delivery.ts'
import { emitter, type EventName, type Events } from '../../src/core/events.ts'

interface Line {
  readonly level: string
  readonly message: string
  readonly fields: Readonly<Record<string, unknown>>
}

let stop: (() => void) | undefined
afterEach(() => stop?.())

function recording() {
  const lines: Line[] = []
  const taking = (level: string) => (fields: object, message: string) => {
    lines.push({ level, message, fields: { ...fields } })
  }
  const logger: Logger = { info: taking('info'), warn: taking('warn'), error: taking('error') }
  return { lines, logger }
}

const tell = <Name extends EventName>(name: Name, event: Events[Name]): void => emitter(name).publish(event)

const delivery: Delivery = {
  message: {
    id: 'm-1',
    type: 'order.placed',
    key: 'secret-key',
    headers: headersFrom([['authorization', 'secret-header']]),
    body: { card: 'secret-body' },
    timeMs: 0,
  },
  bytes: Buffer.from('secret-bytes'),
  pipeline: 'billing',
  origin: { system: 'kafka', destination: 'orders', partition: '3', position: '41', group: 'billing' },
  attempt: 2,
  signal: new AbortController().signal,
  raw: 'secret-raw',
}

describe('logEvents()', () => {
  it('says which message it was, where it came from and what happened', () => {
    const { lines, logger } = recording()
    stop = logEvents(logger)
    tell('dead-lettered', { delivery, error: new PermanentError('no such customer'), reason: 'permanent' })
    expect(lines).toEqual([
      {
        level: 'error',
        message: 'dead-lettered',
        fields: {
          event: 'dead-lettered',
          pipeline: 'billing',
          messageId: 'm-1',
          type: 'order.placed',
          destination: 'orders',
          partition: '3',
          position: '41',
          attempt: 2,
          reason: 'permanent',
          error: 'PermanentError (permanent)',
          errorMessage: 'no such customer',
        },
      },
    ])
  })

  const error = new Error('x')
  const relay = { relay: 'r', shard: 1 }
  const everything: readonly (() => void)[] = [
    () => tell('nacked', { delivery, error }),
    () => tell('dead-lettered', { delivery, error, reason: 'attempts' }),
    () => tell('dead-letter-failed', { delivery, error, destination: 'd' }),
    () => tell('discarded', { delivery, error, reason: 'old' }),
    () => tell('abandoned', { delivery, afterMs: 5 }),
    () => tell('conflict-seen', { delivery }),
    () => tell('lease-lost', { delivery }),
    () => tell('store-failed', { store: 'redis', operation: 'claim', error }),
    () => tell('circuit-changed', { name: 'payments', from: 'closed', to: 'open' }),
    () => tell('consumer-changed', { system: 'kafka', group: 'billing', change: 'joined', detail: { partitions: 3 } }),
    () => tell('outbox-shard-changed', { ...relay, epoch: 7n, change: 'lost', error }),
    () => tell('outbox-outage', { ...relay, error, nextInMs: 100 }),
    () => tell('outbox-dead', { ...relay, messageId: 'm-1', destination: 'orders', error }),
    () => tell('outbox-expired', { ...relay, messageId: 'm-1', destination: 'orders', expiredMs: 5 }),
    () => tell('outbox-refused', { relay: 'r', reason: 'a restored dump' }),
  ]

  it('X: never writes a body, a key or the value of a header, to no logger and not to the console', () => {
    const { lines, logger } = recording()
    const printed: unknown[] = []
    for (const level of ['info', 'warn', 'error'] as const)
      vi.spyOn(console, level).mockImplementation((...all) => printed.push(...all))
    const stops = [logEvents(logger), logEvents(consoleLogger)]
    for (const each of everything) each()
    for (const each of stops) each()
    vi.restoreAllMocks()
    expect(lines).toHaveLength(everything.length)
    expect(printed).toHaveLength(everything.length)
    expect(JSON.stringify([lines, printed])).not.toContain('secret')
    for (const text of printed) expect(text).toMatch(/^holdfast [^\n]+$/)
  })

  it('X: writes to a real pino, each event at its level, with the same fields and nothing secret', () => {
    const { lines, logger } = recording()
    const written: string[] = []
    const stops = [logEvents(logger), logEvents(pino({ base: null }, { write: (text) => void written.push(text) }))]
    for (const each of everything) each()
    for (const each of stops) each()
    const levels: Readonly<Record<string, number>> = pino.levels.values
    expect(written.map((text): unknown => JSON.parse(text))).toEqual(
      lines.map(({ level, message, fields }) => ({
        ...fields,
        level: levels[level],
        time: expect.any(Number) as number,
        msg: message,
      })),
    )
    const at = (level: string) => lines.filter((line) => line.level === level).map(({ fields }) => fields['event'])
    expect(at('info')).toEqual(['discarded', 'consumer-changed'])
    expect(at('warn')).toEqual([
      ...['nacked', 'conflict-seen', 'lease-lost', 'circuit-changed', 'outbox-shard-changed', 'outbox-outage'],
      'outbox-expired',
    ])
    expect(at('error')).toEqual([
      ...['dead-lettered', 'dead-letter-failed', 'abandoned', 'store-failed', 'outbox-dead', 'outbox-refused'],
    ])
    expect(written.join('')).not.toContain('secret')
    expect(written.every((text) => text.indexOf('\n') === text.length - 1)).toBe(true)
  })

  it('takes waiting behind another process for everyday life, and other waits for a warning', () => {
    const { lines, logger } = recording()
    stop = logEvents(logger)
    tell('nacked', { delivery, error: new RetryLater(12.6, { holds: 'lane' }) })
    tell('nacked', {
      delivery,
      error: new RetryLater(1000, { holds: 'pipeline', because: 'circuit payments is open' }),
    })
    expect(
      lines.map(({ level, fields }) => [level, fields['holds'], fields['afterMs'], fields['errorMessage']]),
    ).toEqual([
      ['info', 'lane', 13, 'retry later'],
      ['warn', 'pipeline', 1000, 'circuit payments is open'],
    ])
  })

  it('takes a circuit that closes and a shard that is claimed for good news', () => {
    const { lines, logger } = recording()
    stop = logEvents(logger)
    tell('circuit-changed', { name: 'payments', from: 'half-open', to: 'closed' })
    tell('outbox-shard-changed', { ...relay, epoch: 1n, change: 'claimed' })
    tell('consumer-changed', { system: 'kafka', group: 'g', change: 'crashed', error })
    expect(lines.map(({ level, message }) => [level, message])).toEqual([
      ['info', 'circuit closed'],
      ['info', 'outbox shard claimed'],
      ['error', 'consumer crashed'],
    ])
  })

  it('logs only the pipelines that are asked for, and what belongs to none', () => {
    const { lines, logger } = recording()
    stop = logEvents(logger, { pipelines: ['shipping'] })
    tell('lease-lost', { delivery })
    tell('lease-lost', { delivery: { ...delivery, pipeline: 'shipping' } })
    tell('store-failed', { store: 'redis', operation: 'claim', error })
    expect(lines.map(({ fields }) => [fields['event'], fields['pipeline']])).toEqual([
      ['lease-lost', 'shipping'],
      ['store-failed', undefined],
    ])
  })

  it('logs only the events that are asked for, and refuses those that it does not know', () => {
    const { lines, logger } = recording()
    stop = logEvents(logger, { events: ['conflict-seen'] })
    tell('lease-lost', { delivery })
    tell('conflict-seen', { delivery })
    expect(lines.map(({ fields }) => fields['event'])).toEqual(['conflict-seen'])
    // @ts-expect-error no such event
    expect(() => logEvents(logger, { events: ['settled'] })).toThrow('logEvents: events must be one of')
    // @ts-expect-error no logger
    expect(() => logEvents({ info: () => {} })).toThrow(
      'logEvents: logger must be an object with info(), warn(), error(), got an object',
    )
  })

  it('is over when it is ended: nothing listens, and nothing is built', () => {
    const { lines, logger } = recording()
    const end = logEvents(logger)
    end()
    tell('conflict-seen', { delivery })
    expect(lines).toEqual([])
    expect(channel('holdfast:nacked').hasSubscribers).toBe(false)
  })

  it('does not write successes', async () => {
    const { lines, logger } = recording()
    stop = logEvents(logger)
    await pipeline('billing')
      .handle(async () => {})
      .dispatch({ message: { id: 'm', body: null } })
    expect(lines).toEqual([])
  })

  it('bad input: shows what was thrown as far as it shows itself', () => {
    const { lines, logger } = recording()
    stop = logEvents(logger)
    tell('nacked', { delivery, error: 'just text' })
    tell('nacked', { delivery, error: undefined })
    tell('nacked', { delivery, error: Object.assign(new Error('x'), { code: 'ECONNREFUSED' }) })
    expect(lines.map(({ fields }) => fields['error'])).toEqual(['string', 'undefined', 'Error (ECONNREFUSED)'])
  })
})

describe('consoleLogger', () => {
  it('writes one line, values that JSON does not know included', () => {
    const info = vi.spyOn(console, 'info').mockImplementation(() => {})
    const circular: Record<string, unknown> = {}
    circular['self'] = circular
    consoleLogger.info({ text: 'two\nlines', count: 3, none: null, missing: undefined, big: 7n, circular }, 'hello')
    expect(info.mock.calls).toEqual([['holdfast hello text="two\\nlines" count=3 big="7" circular="[object Object]"']])
    info.mockRestore()
  })
})
