import { expect, it } from 'vitest'
import { fakeClock } from '../../../src/testing/index.ts'
import { BeatWatch } from '../../../src/transports/kafkajs/beat-watch.ts'

const unanswered = (forMs: number) =>
  `the group answered no heartbeat for ${forMs} ms, and kafkajs may fetch nothing until it does`

function bench() {
  const clock = fakeClock()
  return { clock, watch: new BeatWatch(clock, 10_000), beat: Promise.withResolvers<void>() }
}

it('names a heartbeat that nobody answers, until somebody does', async () => {
  const { clock, watch, beat } = bench()
  watch.sent(beat.promise)
  await clock.advance(9_000)
  expect(watch.problem).toBeUndefined()
  // kafkajs gives out the same promise while one is under way.
  watch.sent(beat.promise)
  await clock.advance(2_000)
  expect(watch.problem).toBe(unanswered(11_000))
  beat.resolve()
  await clock.advance(0)
  expect(watch.problem).toBeUndefined()
})

it('takes a refusal of the group for an answer, and a time-out for none', async () => {
  const { clock, watch, beat } = bench()
  watch.sent(beat.promise)
  await clock.advance(5_000)
  beat.reject(new Error('Request Heartbeat timed out'))
  await clock.advance(5_000)
  expect(watch.problem).toBe(unanswered(10_000))
  watch.sent(Promise.reject(Object.assign(new Error('rebalancing'), { type: 'REBALANCE_IN_PROGRESS' })))
  await clock.advance(0)
  expect(watch.problem).toBeUndefined()
})

it('an answer from before kafkajs began anew says nothing of the heartbeat that waits now', async () => {
  const { clock, watch, beat } = bench()
  watch.sent(beat.promise)
  await clock.advance(1_000)
  watch.clear()
  watch.sent(new Promise(() => {}))
  beat.resolve()
  await clock.advance(10_000)
  expect(watch.problem).toBe(unanswered(10_000))
})
