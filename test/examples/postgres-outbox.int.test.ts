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

describeWith(['postgres', 'kafka'], 'postgres-outbox', () => {
  it('does the same on real servers', { timeout: 120_000 }, async () => {
    const flags = ['--postgres', postgresUrl(), '--kafka', kafkaBrokers().join(',')]
    const ended = await runExample(file, ['--orders', '500', ...flags])
    expect(stable(ended.stdout)).toEqual(['PostgreSQL real, Kafka', ...kept])
    expect(ended.code).toBe(0)
  })
})
