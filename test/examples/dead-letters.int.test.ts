import { expect, it } from 'vitest'
import { runExample } from './run.ts'

it(
  'dead-letters-and-redrive: forty letters in three groups are redriven, each once',
  { timeout: 120_000 },
  async () => {
    const ended = await runExample('examples/dead-letters-and-redrive/main.ts', [])
    expect(ended.stderr).toBe('')
    expect(ended.stdout.split('\n')).toEqual([
      '1. 60 invoices, 40 dead letters',
      '2. 20 of billing: PermanentError: no tax rate for country FR',
      expect.stringMatching(/^2\. 10 of billing/),
      expect.stringMatching(/^2\. 10 of billing/),
      '4. a dry run: 20 match, of 2 customers',
      '4. canary: paused, 3 of 20: {"resolved":3}',
      '4. resumed: done, 20 of 20: {"resolved":20}',
      '5. the others: done, 20 of 20: {"resolved":20}',
      '6. ana: redrive 1',
      '6. ana: resume 1',
      '6. ana: redrive 2',
      expect.stringContaining('6. order-1: dead letter → '),
      '6. 100 invoices, 0 missing, 0 dead letters',
      '',
    ])
    expect(ended.code).toBe(0)
  },
)
