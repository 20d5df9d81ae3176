import { expect, it } from 'vitest'
import { outgoing } from '../../src/core/publisher.ts'
import { pipeline, RetryLater } from '../../src/index.ts'
import { memoryBroker, memoryConsumer } from '../../src/transports/memory/index.ts'

it('takes a delivery for the first only once it has handled twice `ahead` since it joined, and never one that comes again', async () => {
  const broker = memoryBroker({ partitions: 1 })
  const ahead = 4
  const seen: { id: string; first: boolean }[] = []
  const stop = new AbortController()
  const { promise: all, resolve: done } = Promise.withResolvers<void>()
  const built = pipeline('orders').handle(({ message: { id }, first = false }) => {
    seen.push({ id, first })
    if (id === 'm-30' && seen.filter((each) => each.id === id).length === 1) throw new RetryLater(1)
    if (seen.length === 41) done()
  })
  const consumer = memoryConsumer({ broker, groupId: 'g', topics: ['t'], pipeline: built, ahead, concurrency: 1 })
  const messages = Array.from({ length: 40 }, (_, n) =>
    outgoing({ id: `m-${n}`, key: 'k', destination: 't', body: Buffer.from('x') }),
  )
  await broker.publisher().publish(messages)
  const running = consumer.run(stop.signal)
  await all
  stop.abort(new Error('over'))
  await running
  expect(seen.slice(0, 2 * ahead).some(({ first }) => first)).toBe(false)
  const later = seen.slice(2 * ahead + 1)
  expect(later.filter(({ id }) => id === 'm-30').map(({ first }) => first)).toEqual([true, false])
  expect(later.filter(({ id, first }) => id !== 'm-30' && !first)).toEqual([])
})
