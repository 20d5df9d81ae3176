import { expect, it } from 'vitest'
import { fakeClock } from '../../../src/testing/index.ts'
import { FetchWatch } from '../../../src/transports/kafkajs/fetch-watch.ts'

it('names a broker that answers no fetch, until it answers or kafkajs asks it no more', async () => {
  const clock = fakeClock()
  const watch = new FetchWatch(clock, 300)
  watch.started(1)
  watch.answered(1)
  watch.started(2)
  await clock.advance(10_200)
  expect(watch.problem).toBeUndefined()
  // kafkajs gave up the first request, and sent another one.
  watch.started(2)
  await clock.advance(200)
  expect(watch.problem).toBe('messages cannot be fetched from broker 2: it answered nothing for 10400 ms')
  watch.answered(2)
  expect(watch.problem).toBeUndefined()
  watch.started(3)
  await clock.advance(130_000)
  expect(watch.problem, 'a broker that leads nothing any more').toBeUndefined()
})
