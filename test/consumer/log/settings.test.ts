import { expect, it } from 'vitest'
import { checkSettings } from '../../../src/consumer/log/settings.ts'
import { describe as describePipeline } from '../../../src/core/describe.ts'

const settings = {
  concurrency: 64,
  sessionMs: 30_000,
  rebalanceMs: 60_000,
  heartbeatMs: 1000,
  maxWaitMs: 300,
  drainMs: 20_000,
}

it('goes by the narrowest of several bulkheads, as describe() does, wherever it stands', () => {
  const stages = (...widths: readonly number[]) => [
    ...widths.map((maxConcurrent) => ({ name: 'bulkhead', facts: { maxConcurrent } })),
    { name: 'transaction', facts: { poolSize: 10 } },
  ]
  for (const valid of [stages(4, 64), stages(64, 4)]) {
    expect(() => checkSettings('consumer', settings, valid)).not.toThrow()
    expect(() => describePipeline('x', valid)).not.toThrow()
  }
  expect(() => checkSettings('consumer', settings, stages(64, 11))).toThrow('must not exceed the transaction')
})
