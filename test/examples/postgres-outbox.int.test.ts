import { expect, it } from 'vitest'
import { describeWith, kafkaBrokers, postgresUrl } from '../support/services.ts'
import { runExample } from './run.ts'

const file = 'examples/postgres-outbox/main.ts'

/** The lines that do not depend on the moment. */
const stable = (text: string) => text.split('\n').filter((line) => !/publish attempts|published|repeats/.test(line))

const kept = [
  '  orders placed            475, and 25 rolled back',
  '  charges                  475: 0 missing, 0 doubled, 0 invented',
  "  out of a customer's order 0",
  'kept: every order was charged once, in order',
  '',
]

it('postgres-outbox: embedded, every order is charged once and in order', { timeout: 120_000 }, async () => {
  const ended = await runExample(file, ['--orders', '500'])
  expect(ended.stderr).toBe('')
  expect(stable(ended.stdout)).toEqual(['PostgreSQL embedded, a broker in memory', ...kept])
  expect(ended.code).toBe(0)
})

it.each([
  [['--orders', 'abc'], "--orders must be a whole number above 0, got 'abc'\n"],
  [['--without', 'luck'], "--without takes outbox or claims, got 'luck'\n"],
  [['--order', '1'], /^Unknown option '--order'[^\n]*\n$/],
  [['--postgres', 'nonsense'], '--postgres must be an address like postgres://user@host:5432/database\n'],
  [['--postgres', 'postgres://u:secret@127.0.0.1:1/db'], 'PostgreSQL cannot be reached at 127.0.0.1:1: ECONNREFUSED\n'],
])('postgres-outbox: says in one line what is wrong with %j', async (flags, line) => {
  const ended = await runExample(file, flags)
  expect(ended).toMatchObject({ code: 1, stdout: '' })
  if (typeof line === 'string') expect(ended.stderr).toBe(line)
  else expect(ended.stderr).toMatch(line)
})

describeWith(['postgres'], 'the audit of postgres-outbox', () => {
  it.each([
    ['outbox', /charges +\d+: [1-9]\d* missing, \d+ doubled, [1-9]\d* invented/],
    ['claims', /charges +\d+: 0 missing, [1-9]\d* doubled, 0 invented/],
  ])('fails without the %s', { timeout: 120_000 }, async (without, charges) => {
    const { code, stdout } = await runExample(file, [
      ...['--orders', '500', '--postgres', postgresUrl(), '--without', without],
    ])
    expect(stdout).toMatch(charges)
    expect(stdout).toContain('BROKEN: see above\n')
    expect(code).toBe(1)
  })
})

describeWith(['postgres', 'kafka'], 'postgres-outbox', () => {
  it('does the same on real servers', { timeout: 120_000 }, async () => {
    const flags = ['--postgres', postgresUrl(), '--kafka', kafkaBrokers().join(',')]
    const ended = await runExample(file, ['--orders', '500', ...flags])
    expect(stable(ended.stdout)).toEqual(['PostgreSQL real, Kafka', ...kept])
    expect(ended.code).toBe(0)
  })
})
