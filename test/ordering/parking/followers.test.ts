import { expect, it } from 'vitest'
import { RetryLater } from '../../../src/core/errors.ts'
import { deadLetter, idempotency, json, outgoing, pipeline, retry, type Schema } from '../../../src/index.ts'
import { parking, type ParkingOptions } from '../../../src/ordering/parking/parking.ts'
import { parkingWorker } from '../../../src/ordering/parking/worker.ts'
import { fakeClock } from '../../../src/testing/fake-clock.ts'
import { memoryBroker } from '../../../src/transports/memory/broker.ts'
import { memoryConsumer } from '../../../src/transports/memory/consumer.ts'
import { memoryIdempotencyStore } from '../../../src/transports/memory/idempotency-store.ts'

const Order = {
  '~standard': {
    version: 1,
    vendor: 'test',
    validate: (value: unknown) =>
      typeof value === 'object' && value !== null && 'n' in value ? { value } : { issues: [{ message: 'no order' }] },
  },
} as unknown as Schema<{ n: number }>

/** One consumer and one worker; what is at the head waits for as long as the address is missing. */
function world(more: Partial<ParkingOptions> = {}) {
  const clock = fakeClock()
  const store = memoryIdempotencyStore({ clock })
  const runs: number[] = []
  const counted: typeof store = {
    ...store,
    append(run) {
      runs.push(run.length)
      return store.append(run)
    },
  }
  const handled: string[] = []
  const dead: string[] = []
  const state = { isMissing: true }
  const orders = pipeline('orders')
    .use(deadLetter({ to: { publish: (all) => Promise.resolve(void dead.push(...all.map(({ id }) => id))) }, clock }))
    .use(parking({ store: counted, clock, ...more }))
    .decode(json(Order))
    .use(idempotency({ store: counted, clock }))
    .use(retry({ clock, maxAttempts: 1 }))
    .handle(({ message }) => {
      if (message.key === 'ada' && state.isMissing) throw new RetryLater(2_000)
      handled.push(message.id)
    })
  const broker = memoryBroker({ partitions: 1, clock })
  const send = (key: string, ids: readonly string[]) =>
    broker.publisher().publish(
      ids.map((id) => {
        const body = id === 'bad' ? '{' : JSON.stringify({ n: 1 })
        return outgoing({ id, destination: 'orders', key, body: Buffer.from(body) })
      }),
    )
  async function during(ms: number, parts: readonly ('consumer' | 'worker')[]): Promise<void> {
    const stop = new AbortController()
    const running = parts.map((part) =>
      part === 'worker'
        ? parkingWorker({ store: counted, pipelines: [orders], clock }).run(stop.signal)
        : memoryConsumer({ broker, groupId: 'g', topics: ['orders'], pipeline: orders, clock }).run(stop.signal),
    )
    await clock.advance(ms)
    stop.abort()
    await clock.advance(100)
    await Promise.all(running)
  }
  return { store, runs, handled, dead, state, send, during, lag: () => broker.lag('g', 'orders') }
}

const named = (count: number, from = 1): string[] => Array.from({ length: count }, (_, at) => `m${from + at}`)

it('appends what is behind a parked message in runs, acks it, and the worker runs it in order', async () => {
  const all = world()
  await all.send('ada', named(71))
  await all.send('bob', ['b1', 'b2'])
  await all.during(500, ['consumer'])
  expect(all.runs).toEqual([32, 32, 6])
  expect(all.handled).toEqual(['b1', 'b2'])
  expect(all.lag()).toBe(0)
  expect(await all.store.status('orders')).toMatchObject({ lanes: 1, rows: 71 })
  all.state.isMissing = false
  await all.during(3_000, ['worker'])
  expect(all.handled.slice(2)).toEqual(named(71))
})

it('P-23 keeps the order where one of a run cannot be read, and where the lane is full', async () => {
  const all = world({ maxPerKey: 5 })
  await all.send('ada', [...named(3), 'bad', ...named(6, 4)])
  await all.during(500, ['consumer'])
  expect(all.dead).toEqual(['bad'])
  expect(await all.store.status('orders')).toMatchObject({ lanes: 1, rows: 5 })
  all.state.isMissing = false
  await all.during(10_000, ['consumer', 'worker'])
  expect(all.handled).toEqual(named(9))
  expect(all.dead).toEqual(['bad'])
  expect(all.lag()).toBe(0)
})

it('goes on in order where the lane has ended before the run comes', async () => {
  const all = world()
  await all.send('ada', named(20))
  await all.during(0, ['consumer'])
  all.state.isMissing = false
  await all.during(10_000, ['worker'])
  await all.during(10_000, ['consumer', 'worker'])
  expect(all.handled).toEqual(named(20))
  expect(all.lag()).toBe(0)
})
