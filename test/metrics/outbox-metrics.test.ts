import { Registry } from 'prom-client'
import { beforeEach, describe, expect, it } from 'vitest'
import { processMetrics } from 'holdfast/metrics'
import { PublishError } from '../../src/core/errors.ts'
import { memoryOutbox, memoryOutboxStore, type MemoryOutboxStore } from '../../src/outbox/memory-store.ts'
import { outboxRelay } from '../../src/outbox/relay.ts'
import type { OutboxStore } from '../../src/outbox/store.ts'
import type { Publisher } from '../../src/core/publisher.ts'
import { fakeClock, type FakeClock } from '../../src/testing/fake-clock.ts'
import { target } from '../outbox/support.ts'
import { scrape } from './support.ts'

describe('the metrics of real relays', () => {
  let clock: FakeClock
  let memory: MemoryOutboxStore
  let registry: Registry

  beforeEach(() => {
    clock = fakeClock()
    memory = memoryOutboxStore({ clock })
    registry = new Registry()
    processMetrics({ registry })
  })

  function start({ publisher = target(), store = memory }: { publisher?: Publisher; store?: OutboxStore } = {}) {
    const stopping = new AbortController()
    const done = outboxRelay({ store, publisher, clock, random: () => 0.5 }).run(stopping.signal)
    return {
      async stop() {
        stopping.abort()
        await clock.advance(1)
        await done
      },
    }
  }

  async function add(...ids: readonly string[]): Promise<void> {
    const tx = memory.begin()
    const messages = ids.map((id) => ({ id, destination: 'orders', key: 'k', body: null }))
    await memoryOutbox().add(tx, messages)
    tx.commit()
  }

  const refusingBad = target((messages) => {
    const failures = messages.flatMap(({ id }, index) =>
      id.startsWith('bad') ? [{ index, permanent: true, error: new Error('refused') }] : [],
    )
    if (failures.length > 0) throw new PublishError('some were refused', failures)
  })

  it('count what was published without the dead, and a page of nothing but dead', async () => {
    const relay = start({ publisher: refusingBad })
    await add('bad-1')
    await clock.advance(1000)
    expect(await scrape(registry)).toMatchObject({ holdfast_outbox_published_total: 0, holdfast_outbox_dead_total: 1 })
    await add('a', 'bad-2', 'b')
    await clock.advance(1000)
    expect(await scrape(registry)).toMatchObject({ holdfast_outbox_published_total: 2, holdfast_outbox_dead_total: 2 })
    await relay.stop()
  })

  it('show nothing before a relay has told, all that run, and nothing once the last has ended', async () => {
    const gauges = async () => {
      const all = Object.entries(await scrape(registry))
      return Object.fromEntries(
        all.filter(([name]) => /^holdfast_outbox_(?!.*_total)(?!publish_lag|window)/.test(name)),
      )
    }
    expect(await gauges()).toEqual({})
    const [first, second] = [start(), start()]
    await clock.advance(30_000)
    expect(await gauges()).toMatchObject({ holdfast_outbox_shards_owned: 4, holdfast_outbox_shards_unheld: 0 })
    expect(Object.keys(await gauges())).toContain('holdfast_outbox_status_timestamp_seconds')
    await first.stop()
    await clock.advance(30_000)
    expect(await gauges()).toMatchObject({ holdfast_outbox_shards_owned: 4, holdfast_outbox_pending: 0 })
    await second.stop()
    expect(await gauges()).toEqual({})
  })
})
