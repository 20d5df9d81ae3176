import type { Logger } from '@opentelemetry/api-logs'
import { expect, expectTypeOf, it } from 'vitest'
import type { OperatorAct } from '../../src/dead-letter/store.ts'
import {
  logRecordOf,
  operatorLogExport,
  otlpOf,
  type LogRecordSink,
  type OperatorLogRecord,
} from '../../src/operations/index.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'

const act = (id: number, atMs: number, more: Partial<OperatorAct> = {}): OperatorAct => ({
  ...{ id: `${id}`, atMs, by: 'ana', act: 'drop', letter: '7', redrive: null, detail: null, ...more },
})

it('an act as a log record says who did what, when and to which letter', () => {
  expect(logRecordOf(act(3, 1000, { redrive: '2', detail: { letters: 4 } }))).toEqual({
    eventName: 'holdfast.operator.act',
    timestamp: 1000,
    observedTimestamp: 1000,
    severityNumber: 9,
    severityText: 'INFO',
    body: 'ana: drop, letter 7, redrive 2',
    attributes: {
      'log.record.uid': 'holdfast-operator-log-3',
      'user.name': 'ana',
      'holdfast.operator.act': 'drop',
      'holdfast.letter': '7',
      'holdfast.redrive': '2',
      'holdfast.operator.detail': '{"letters":4}',
    },
  })
})

it("acts in OTLP's JSON have times in ns and well-formed text", () => {
  const told = JSON.stringify(otlpOf([act(1, 1_795_793_810_930, { by: 'a\ud800' })]))
  expect(told).toContain('"timeUnixNano":"1795793810930000000"')
  expect(told).toContain('"stringValue":"a\ufffd"')
})

it('takes a logger of OpenTelemetry', () => {
  expectTypeOf<Pick<Logger, 'emit'>>().toExtend<LogRecordSink>()
})

async function exported(sinceMs?: number) {
  const clock = fakeClock({ wallMs: 1_000_000 })
  const stored: OperatorAct[] = []
  let fails = false
  const log = async ({ limit = 100, before }: { limit?: number; before?: string } = {}) => {
    if (fails) throw new Error('down')
    return stored
      .filter(({ id }) => before === undefined || Number(id) < Number(before))
      .toSorted((a, b) => Number(b.id) - Number(a.id))
      .slice(0, limit)
  }
  const records: OperatorLogRecord[] = []
  const stop = new AbortController()
  const logger = { emit: (record: OperatorLogRecord) => void records.push(record) }
  const running = operatorLogExport({ letters: { log }, logger, clock, ...(sinceMs !== undefined && { sinceMs }) }).run(
    stop.signal,
  )
  const sent = () => records.map(({ attributes }) => Number(attributes['log.record.uid']?.split('-').at(-1)))
  return {
    stored,
    sent,
    poll: () => clock.advance(5000),
    now: () => clock.wall(),
    fail: (now: boolean) => (fails = now),
    end: async () => (stop.abort(), running),
  }
}

it('hands on each act once, oldest first, also one that was committed late under a lower number', async () => {
  const { stored, sent, poll, now, end } = await exported()
  stored.push(act(1, now() - 10))
  await poll()
  expect(sent()).toEqual([])
  stored.push(act(3, now()), act(4, now() + 1))
  await poll()
  stored.push(act(2, now() - 5000))
  await poll()
  await poll()
  expect(sent()).toEqual([3, 4, 2])
  await end()
})

it('begins at the time that was asked for, page by page, and misses nothing while the store is down', async () => {
  const { stored, sent, poll, now, fail, end } = await exported(0)
  for (let id = 1; id <= 1203; id++) stored.push(act(id, 900_000 + id))
  await poll()
  expect(sent()).toEqual(stored.map(({ id }) => Number(id)))
  fail(true)
  stored.push(act(1204, now()))
  await poll()
  expect(sent()).toHaveLength(1203)
  fail(false)
  await poll()
  expect(sent()).toHaveLength(1204)
  await end()
})

it('refuses what is no logger and no log', () => {
  const make = (options: unknown) => () => operatorLogExport(options as never)
  expect(make({})).toThrow('letters must be')
  expect(make({ letters: { log: async () => [] } })).toThrow('logger must be')
  expect(make({ letters: { log: async () => [] }, logger: { emit: () => {} }, pollMS: 1 })).toThrow(
    "Did you mean 'pollMs'?",
  )
})
