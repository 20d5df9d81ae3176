import { describe, expect, it, vi } from 'vitest'
import { idempotency, pipeline, type HasHealth } from 'holdfast'
import { circuitBreaker } from 'holdfast/policies'
import { deadLetterHealth, health, storeHealth } from 'holdfast/health'
import type { Delivery } from '../../src/core/delivery.ts'
import { emitter } from '../../src/core/events.ts'
import { memoryBroker, memoryConsumer, memoryIdempotencyStore } from 'holdfast/memory'
import { fakeClock } from '../../src/testing/fake-clock.ts'

const part = (name: string, live: boolean, ready: boolean): HasHealth => ({
  health: () => ({ name, live, ready, details: { of: name } }),
})

describe('health()', () => {
  it.each([
    ['all are well', [part('a', true, true), part('b', true, true)], { live: true, ready: true }],
    ['one cannot work now', [part('a', true, true), part('b', true, false)], { live: true, ready: false }],
    ['one is beyond help', [part('a', false, false), part('b', true, true)], { live: false, ready: false }],
    ['there are none', [], { live: true, ready: true }],
  ])('sums up: %s', (_, parts, expected) => {
    expect(health(...parts)).toEqual({ ...expected, parts: parts.map((each) => each.health()) })
  })

  it('answers although a part cannot, and is not ready then', () => {
    const broken: HasHealth = {
      health: () => {
        throw new Error('no answer')
      },
    }
    expect(health(part('a', true, true), broken)).toMatchObject({
      live: true,
      ready: false,
      parts: [{ name: 'a' }, { ready: false, details: { error: 'no answer' } }],
    })
  })

  it('is data: it goes through JSON as it is', () => {
    const payments = circuitBreaker({ name: 'payments' })
    const consumer = memoryConsumer({
      broker: memoryBroker(),
      groupId: 'billing',
      topics: ['orders'],
      pipeline: pipeline('billing').handle(async () => {}),
    })
    const said = health(payments, consumer)
    expect(JSON.parse(JSON.stringify(said))).toEqual(said)
  })

  it('follows a breaker: not ready while its circuit is open, live all the same', async () => {
    const clock = fakeClock()
    const payments = circuitBreaker({ name: 'payments', openAfter: 1, clock })
    await payments.run(() => Promise.reject(Object.assign(new Error('down'), { status: 503 }))).catch(() => {})
    expect(health(payments)).toMatchObject({ live: true, ready: false, parts: [{ details: { state: 'open' } }] })
  })

  it('follows a consumer: ready once it is a member of its group, and not once it crashed', async () => {
    const consumer = memoryConsumer({
      broker: memoryBroker(),
      groupId: 'billing',
      topics: ['orders'],
      pipeline: pipeline('billing').handle(async () => {}),
    })
    const running = consumer.run(new AbortController().signal).catch(() => {})
    expect(health(consumer).ready).toBe(false)
    await vi.waitFor(() => expect(health(consumer).ready).toBe(true))
    await consumer.crash()
    await running
    expect(health(consumer).ready).toBe(false)
  })
})

describe('deadLetterHealth()', () => {
  it('is not ready while dead letters are not taken, and says where and why', async () => {
    const clock = fakeClock()
    const health = deadLetterHealth({ clock, forMs: 1000 })
    expect(health.health()).toMatchObject({ name: 'dead letters', live: true, ready: true })
    const delivery = {} as Delivery
    const failed = emitter('dead-letter-failed')
    failed.publish({ delivery, error: new Error('no such topic'), destination: 'orders.dead-letters' })
    const details = { destination: 'orders.dead-letters', error: 'no such topic' }
    expect(health.health()).toMatchObject({ ready: false, details })
    await clock.advance(1000)
    expect(health.health().ready).toBe(true)
    health.stop()
    failed.publish({ delivery, error: new Error('x'), destination: 'd' })
    expect(health.health().ready).toBe(true)
  })
})

describe('storeHealth()', () => {
  it('is not ready while a store does not answer, and ready again when it has for a while', async () => {
    const clock = fakeClock()
    const store = storeHealth('memory', { forMs: 1000, clock })
    const down = { ...memoryIdempotencyStore(), claim: () => Promise.reject(new Error('connection refused')) }
    const handled = pipeline('billing')
      .use(idempotency({ store: down }))
      .handle(async () => {})
    expect(health(store)).toMatchObject({ ready: true, parts: [{ details: { failedAgoMs: null } }] })

    await handled.dispatch({ message: { id: 'm', body: null } }).catch(() => {})
    await clock.advance(999)
    expect(health(store)).toMatchObject({
      live: true,
      ready: false,
      parts: [{ name: 'store memory', details: { operation: 'claim', error: 'connection refused', failedAgoMs: 999 } }],
    })
    await clock.advance(1)
    expect(health(store).ready).toBe(true)
    store.stop()
  })

  it('takes no notice of other stores, nor of anything once stopped', async () => {
    const store = storeHealth('redis')
    const down = { ...memoryIdempotencyStore(), claim: () => Promise.reject(new Error('down')) }
    const handled = pipeline('billing')
      .use(idempotency({ store: down }))
      .handle(async () => {})
    await handled.dispatch({ message: { id: 'm', body: null } }).catch(() => {})
    expect(health(store).ready).toBe(true)
    const stopped = storeHealth('memory')
    stopped.stop()
    await handled.dispatch({ message: { id: 'm', body: null } }).catch(() => {})
    expect(health(stopped).ready).toBe(true)
    store.stop()
  })

  it('bad input: names the option', () => {
    expect(() => storeHealth('')).toThrow("storeHealth: store must be a text that is not empty, got ''")
    expect(() => storeHealth('redis', { forMs: 0 })).toThrow('storeHealth: forMs must be a number of ms')
  })
})
