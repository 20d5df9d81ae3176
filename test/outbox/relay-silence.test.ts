import { beforeEach, describe, expect, it } from 'vitest'
import { memoryOutbox, memoryOutboxStore, type MemoryOutboxStore } from '../../src/outbox/memory-store.ts'
import { outboxRelay } from '../../src/outbox/relay.ts'
import type { OutboxLease, OutboxStore } from '../../src/outbox/store.ts'
import { fakeClock, type FakeClock } from '../../src/testing/fake-clock.ts'
import { target } from './support.ts'

describe('a relay that stands still, or whose store does', () => {
  let clock: FakeClock
  let store: MemoryOutboxStore

  beforeEach(async () => {
    clock = fakeClock()
    store = memoryOutboxStore({ clock, shards: 1 })
    const tx = store.begin()
    await memoryOutbox().add(tx, { id: 'a', destination: 'orders', body: null })
    tx.commit()
  })

  it('asks whether the shard is still its own before it publishes what it read before it was paused', async () => {
    let skippedMs = 0
    let successor: OutboxLease | null = null
    // The process stops once the page is there; its timers have not run yet when it goes on.
    function pausedPast(lease: OutboxLease): OutboxLease {
      return {
        ...lease,
        async read(maxRows, maxBytes) {
          const rows = await lease.read(maxRows, maxBytes)
          skippedMs = 30_000
          await store.leave('paused')
          successor = await store.claim('successor', 60_000, [])
          return rows
        },
      }
    }
    const pausing: OutboxStore = {
      ...store,
      async claim(owner, leaseMs, held) {
        const lease = await store.claim(owner, leaseMs, held)
        return lease === null ? null : pausedPast(lease)
      },
    }
    const to = target()
    const stop = new AbortController()
    const paused = { ...clock, now: () => clock.now() + skippedMs }
    const done = outboxRelay({ store: pausing, publisher: to, name: 'paused', clock: paused }).run(stop.signal)
    await clock.advance(1000)
    expect(to.ids()).toEqual([])
    expect(successor).not.toBeNull()
    stop.abort()
    await clock.advance(60_000)
    await done
  })

  it('is not ready once its store has been silent for two leases, and is again when it answers', async () => {
    let down = false
    const silent: OutboxStore = {
      ...store,
      attend: (...args) => (down ? Promise.reject(new Error('ECONNREFUSED')) : store.attend(...args)),
    }
    const stop = new AbortController()
    const relay = outboxRelay({ store: silent, publisher: target(), leaseMs: 1000, clock })
    const done = relay.run(stop.signal)
    await clock.advance(5000)
    expect(relay.health()).toMatchObject({ live: true, ready: true })
    down = true
    await clock.advance(1500)
    expect(relay.health()).toMatchObject({ live: true, ready: true })
    await clock.advance(1000)
    expect(relay.health()).toMatchObject({ live: true, ready: false, details: { lastError: 'ECONNREFUSED' } })
    down = false
    await clock.advance(1000)
    expect(relay.health()).toMatchObject({ live: true, ready: true })
    stop.abort()
    await clock.advance(5000)
    await done
  })
})
