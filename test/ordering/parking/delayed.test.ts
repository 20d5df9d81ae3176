import { expect, it } from 'vitest'
import { PermanentError, RetryLater } from '../../../src/core/errors.ts'
import { deadLetter, idempotency, pipeline, retry, type Bytes, type Delivery } from '../../../src/index.ts'
import { delayed, type DelayedOptions } from '../../../src/ordering/parking/parking.ts'
import { parkingWorker } from '../../../src/ordering/parking/worker.ts'
import { fakeClock } from '../../../src/testing/fake-clock.ts'
import { memoryIdempotencyStore } from '../../../src/transports/memory/idempotency-store.ts'

/** A pipeline whose messages wait without order. */
function world(handle: (delivery: Delivery<Bytes>) => void, more: Partial<DelayedOptions> = {}) {
  const clock = fakeClock()
  const store = memoryIdempotencyStore({ clock })
  const handled: string[] = []
  const dead: string[] = []
  const publish = (messages: readonly { readonly id: string }[]) =>
    Promise.resolve(void dead.push(...messages.map(({ id }) => id)))
  const orders = pipeline('orders')
    .use(deadLetter({ to: { publish }, clock }))
    .use(delayed({ store, clock, ...more }))
    .use(idempotency({ store, clock }))
    .use(retry({ clock, maxAttempts: 1 }))
    .handle((delivery) => {
      handle(delivery)
      handled.push(delivery.message.id)
    })
  const send = (id: string) =>
    orders.dispatch({ message: { id, key: 'A', body: Buffer.from(id) }, origin: { destination: 'topic' } })
  async function workFor(ms: number): Promise<void> {
    const stop = new AbortController()
    const running = parkingWorker({ store, pipelines: [orders], clock }).run(stop.signal)
    await clock.advance(ms)
    stop.abort()
    await clock.advance(0)
    await running
  }
  return { store, handled, dead, send, workFor }
}

const waitsOnce = () => {
  const waited = new Set<string>()
  return ({ message }: Delivery<Bytes>): void => {
    if (message.id !== 'late' || waited.has('late')) return
    waited.add('late')
    throw new RetryLater(5_000)
  }
}

it('lets a message wait alone: later ones of its key go on, and it runs when its time has come', async () => {
  const all = world(waitsOnce())
  expect(await all.send('late')).toBe('parked')
  expect(await all.send('next')).toBe('handled')
  await all.workFor(4_000)
  expect(all.handled).toEqual(['next'])
  await all.workFor(2_000)
  expect(all.handled).toEqual(['next', 'late'])
  expect(await all.store.countLanes('orders', 10)).toBe(0)
})

it('acks what comes again while it waits, and after it was handled, and runs it once', async () => {
  const all = world(waitsOnce())
  expect(await all.send('late')).toBe('parked')
  expect(await all.send('late')).toBe('parked')
  await all.workFor(6_000)
  expect(await all.send('late')).toBe('duplicate')
  expect(all.handled).toEqual(['late'])
})

it('keeps a short wait in the consumer', async () => {
  const all = world(() => {
    throw new RetryLater(999)
  })
  await expect(all.send('short')).rejects.toThrow(RetryLater)
  expect(await all.store.countLanes('orders', 10)).toBe(0)
})

it('dead-letters what dies in the hands of the worker, and what has waited for too long', async () => {
  const all = world(
    ({ message, parked }) => {
      if (message.id === 'dies' && parked !== undefined) throw new PermanentError('for good')
      throw new RetryLater(2_000)
    },
    { maxAgeMs: 10_000 },
  )
  expect(await all.send('dies')).toBe('parked')
  expect(await all.send('waits')).toBe('parked')
  await all.workFor(3_000)
  expect(all.dead).toEqual(['dies'])
  await all.workFor(20_000)
  expect(all.dead).toEqual(['dies', 'waits'])
  expect(await all.store.countLanes('orders', 10)).toBe(0)
})
