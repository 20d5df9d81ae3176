import { expect, it } from 'vitest'
import { RetryLater } from '../../../src/core/errors.ts'
import { deadLetter, idempotency, pipeline, retry } from '../../../src/index.ts'
import { parking } from '../../../src/ordering/parking/parking.ts'
import { parkingWorker } from '../../../src/ordering/parking/worker.ts'
import { fakeClock } from '../../../src/testing/fake-clock.ts'
import { memoryIdempotencyStore } from '../../../src/transports/memory/idempotency-store.ts'

it('parks single messages of a batch: the others are handled, and the worker runs what is parked in order, once', async () => {
  const clock = fakeClock()
  const store = memoryIdempotencyStore({ clock })
  const batches: string[][] = []
  let isDown = true
  const orders = pipeline('orders')
    .use(deadLetter({ to: { publish: () => Promise.resolve() }, clock }))
    .use(parking({ store, clock }))
    .use(idempotency({ store, clock }))
    .use(retry({ clock }))
    .handleBatch({ maxSize: 3, clock }, (deliveries) => {
      batches.push(deliveries.map(({ message }) => message.id))
      const failed = isDown ? deliveries.filter(({ message }) => message.key === 'A') : []
      return Promise.resolve(failed.map((delivery) => ({ delivery, error: new RetryLater(2_000) })))
    })
  const send = (id: string, key: string) =>
    orders.dispatch({ message: { id, key, body: Buffer.from(id) }, origin: { destination: 'topic' } })

  const outcomes = await Promise.all([send('a1', 'A'), send('b1', 'B'), send('c1', 'C')])
  expect(outcomes).toEqual(['parked', 'handled', 'handled'])
  expect(batches).toEqual([['a1', 'b1', 'c1']])
  // Those behind it never come to the handler.
  expect(await send('a2', 'A')).toBe('parked')
  isDown = false
  const stop = new AbortController()
  const running = parkingWorker({ store, pipelines: [orders], clock }).run(stop.signal)
  await clock.advance(3_000)
  stop.abort()
  await clock.advance(0)
  await running
  expect(batches.slice(1)).toEqual([['a1'], ['a2']])
  expect(await store.countLanes('orders', 10)).toBe(0)
})
