import { expect, it } from 'vitest'
import { PermanentError, RetryLater } from '../../../src/core/errors.ts'
import { headersFrom } from '../../../src/core/message.ts'
import { parkingWorker } from '../../../src/ordering/parking/worker.ts'
import { recovery, when } from '../../../src/retry/recovery.ts'
import { fakeClock, type FakeClock } from '../../../src/testing/fake-clock.ts'
import { memoryIdempotencyStore } from '../../../src/transports/memory/idempotency-store.ts'
import { parkedPipeline, send, type Handles, type ParkedPipeline } from './support.ts'

function world(handle: Handles, more: Parameters<typeof parkedPipeline>[2] = {}) {
  const clock = fakeClock()
  const store = memoryIdempotencyStore({ clock })
  return { clock, store, ...parkedPipeline(store, handle, { clock, ...more }) }
}

async function workFor(
  ms: number,
  clock: FakeClock,
  pipeline: ParkedPipeline,
  store: ReturnType<typeof memoryIdempotencyStore>,
) {
  const stop = new AbortController()
  const worker = parkingWorker({ store, pipelines: [pipeline.orders], clock, leaseMs: 3_000 })
  const running = worker.run(stop.signal)
  await clock.advance(ms)
  const health = worker.health()
  stop.abort()
  await clock.advance(0)
  await running
  return health
}

it('K-18 parks a message that has to wait, puts later ones of its key behind it, and runs them in order when it is due', async () => {
  let isDown = true
  const all = world(({ message }) => {
    if (isDown && message.id === '1') throw new RetryLater(5_000)
  })
  expect(await send(all, '1')).toBe('parked')
  expect(await send(all, '2')).toBe('parked')
  expect(await send(all, '3', 'B')).toBe('handled')
  expect(await send(all, '4')).toBe('parked')
  expect(all.handled).toEqual(['3'])
  isDown = false
  await workFor(4_000, all.clock, all, all.store)
  expect(all.handled).toEqual(['3'])
  await workFor(2_000, all.clock, all, all.store)
  expect(all.handled).toEqual(['3', '1', '2', '4'])
  // The key is free again.
  expect(await send(all, '5')).toBe('handled')
  expect(await all.store.countLanes('orders', 10)).toBe(0)
})

it('acks redeliveries of what is parked, and of what was handled from there', async () => {
  let isDown = true
  const all = world(() => {
    if (isDown) throw new RetryLater(5_000)
  })
  expect(await send(all, '1')).toBe('parked')
  expect(await send(all, '1')).toBe('parked')
  expect(await send(all, '2')).toBe('parked')
  expect(await send(all, '2')).toBe('parked')
  isDown = false
  await workFor(6_000, all.clock, all, all.store)
  expect(all.handled).toEqual(['1', '2'])
  expect(await send(all, '1')).toBe('duplicate')
})

it('gives the handler the message as it came: key, headers, bytes, origin, and the attempts so far', async () => {
  const seen: unknown[] = []
  const all = world(({ message, bytes, origin, attempt }) => {
    seen.push({ message, bytes: Buffer.from(bytes ?? []), origin, attempt })
    if (seen.length === 1) throw new RetryLater(2_000)
  })
  const headers = headersFrom([
    ['plain', 'text'],
    ['bytes', new Uint8Array([255, 0, 254])],
    ['many', ['a', 'b']],
    ['__proto__', 'kept'],
  ])
  const key = 'half a pair \ud800 and NUL \0'
  await send(all, '1', key, headers)
  await workFor(3_000, all.clock, all, all.store)
  expect(seen).toHaveLength(2)
  expect(seen[1]).toEqual(seen[0])
})

it('parks no short wait, no lane, no pipeline, no shutdown', async () => {
  let later = new RetryLater(999)
  const all = world(() => {
    throw later
  })
  await expect(send(all, '1')).rejects.toBe(later)
  later = new RetryLater(60_000, { holds: 'lane' })
  await expect(send(all, '1')).rejects.toBe(later)
  later = new RetryLater(60_000, { holds: 'pipeline' })
  await expect(send(all, '1')).rejects.toBe(later)
  expect(await all.store.countLanes('orders', 10)).toBe(0)
})

it('parks a wait that says so, however short it is: a row of recovery, or the handler itself', async () => {
  class NoAddress extends Error {}
  let isDown = true
  const all = world(
    ({ message }) => {
      if (!isDown) return
      if (message.id === '1') throw new NoAddress('no address')
      if (message.id === '3') throw new RetryLater(1, { parks: true })
    },
    { retry: { recovery: recovery(when(NoAddress).park(20)) } },
  )
  expect(await send(all, '1')).toBe('parked')
  expect(await send(all, '2')).toBe('parked')
  expect(await send(all, '3', 'B')).toBe('parked')
  isDown = false
  await workFor(1_000, all.clock, all, all.store)
  expect(all.handled.toSorted()).toEqual(['1', '2', '3'])
  expect(all.dead).toEqual([])
})

it('goes on with the key after a final failure, and blocks it with block-key until the head is run again', async () => {
  let isBroken = true
  const handle: Handles = ({ message }) => {
    if (isBroken && message.id === '1') throw new PermanentError('no address')
  }
  const going = world(handle)
  expect(await send(going, '1')).toBe('dead-lettered')
  expect(await send(going, '2')).toBe('handled')

  const blocking = world(handle, { whenDead: 'block-key' })
  expect(await send(blocking, '1')).toBe('dead-lettered')
  expect(await send(blocking, '2')).toBe('parked')
  expect(await send(blocking, '3', 'B')).toBe('handled')
  // A redelivery is told what failed.
  expect(await send(blocking, '1')).toBe('dead-lettered')
  await workFor(10_000, blocking.clock, blocking, blocking.store)
  expect(blocking.handled).toEqual(['3'])
  expect(blocking.dead).toEqual(['1', '1'])
  isBroken = false
})

it('blocks the key where a parked message dies in the hands of the worker', async () => {
  let runs = 0
  const all = world(
    ({ message }) => {
      if (message.id !== '1') return
      if (++runs === 1) throw new RetryLater(2_000)
      throw new PermanentError('for good')
    },
    { whenDead: 'block-key' },
  )
  await send(all, '1')
  await send(all, '2')
  await workFor(10_000, all.clock, all, all.store)
  expect(all.dead).toEqual(['1'])
  expect(all.handled).toEqual([])
  expect(await all.store.status('orders')).toMatchObject({ lanes: 1, rows: 2, blocked: 1 })
})

it('gives a message up that has waited for too long, unless it is to alert or to block', async () => {
  const handle: Handles = ({ message }) => {
    if (message.id === '1') throw new RetryLater(2_000)
  }
  const all = world(handle, { maxAgeMs: 60_000 })
  await send(all, '1')
  await send(all, '2')
  await workFor(30_000, all.clock, all, all.store)
  expect(all.dead).toEqual([])
  await workFor(60_000, all.clock, all, all.store)
  expect(all.dead).toEqual(['1'])
  expect(all.handled).toEqual(['2'])

  const alerting = world(handle, { maxAgeMs: 60_000, onTooOld: 'alert' })
  await send(alerting, '1')
  const health = await workFor(90_000, alerting.clock, alerting, alerting.store)
  expect(health.ready).toBe(false)
  expect(JSON.stringify(health.details)).toContain('longer than maxAgeMs')
  expect(alerting.dead).toEqual([])

  const blocking = world(handle, { maxAgeMs: 60_000, onTooOld: 'block' })
  await send(blocking, '1')
  await workFor(90_000, blocking.clock, blocking, blocking.store)
  expect(await blocking.store.status('orders')).toMatchObject({ blocked: 1 })
  expect(blocking.dead).toEqual([])
})

it('takes no more messages of a key than it may, and loses none', async () => {
  let isDown = true
  const all = world(
    () => {
      if (isDown) throw new RetryLater(2_000)
    },
    { maxPerKey: 2 },
  )
  expect(await send(all, '1')).toBe('parked')
  expect(await send(all, '2')).toBe('parked')
  await expect(send(all, '3')).rejects.toMatchObject({ holds: 'lane', afterMs: 1_000 })
  isDown = false
  await workFor(3_000, all.clock, all, all.store)
  expect(await send(all, '3')).toBe('handled')
  expect(all.handled).toEqual(['1', '2', '3'])
})

it('makes no new lane beyond maxLanes: the message waits in the transport', async () => {
  const all = world(
    () => {
      throw new RetryLater(2_000)
    },
    { maxLanes: 1 },
  )
  expect(await send(all, '1')).toBe('parked')
  await all.clock.advance(1_000)
  await expect(send(all, '2', 'B')).rejects.toMatchObject({ holds: 'message' })
  expect(await send(all, '3')).toBe('parked')
})
