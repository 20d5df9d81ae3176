import { AggregatorRegistry, Counter, Registry, type OpenMetricsContentType } from 'prom-client'
import { describe, expect, it } from 'vitest'
import { PermanentError, pipeline, retry, RetryLater, type Delivery, type HasHealth, type Incoming } from 'holdfast'
import { bulkhead, retryBudget } from 'holdfast/policies'
import { metrics, processMetrics } from 'holdfast/metrics'
import { emitter, type EventName, type Events } from '../../src/core/events.ts'
import { failureReasons } from '../../src/core/errors.ts'
import { instrumentIds, instruments, type Instrument, type InstrumentId } from '../../src/core/recorder/instruments.ts'
import { promName } from '../../src/metrics/metrics.ts'
import { scrape } from './support.ts'

const incoming: Incoming = { message: { id: 'm', body: null }, origin: { system: 'kafka', destination: 'orders' } }

function publish<Name extends EventName>(name: Name, event: Events[Name]): void {
  emitter(name).publish(event)
}

/** A delivery as a stage of the pipeline sees it. */
async function deliveryOf(registry: Registry, name: string): Promise<Delivery> {
  let seen: Delivery | undefined
  await pipeline(name)
    .use(metrics({ registry }))
    .handle((delivery) => {
      seen = delivery
    })
    .dispatch(incoming)
  if (seen === undefined) throw new Error('not handled')
  return seen
}

describe('metrics()', () => {
  it('counts deliveries by outcome, and says who is in flight', async () => {
    const registry = new Registry()
    const gate = Promise.withResolvers<void>()
    const handled = pipeline('billing')
      .use(metrics({ registry }))
      .use((next) => async (delivery) => (delivery.message.id === 'dup' ? 'duplicate' : next(delivery)))
      .handle(async ({ message }) => {
        if (message.id === 'slow') await gate.promise
      })
    const slow = handled.dispatch({ message: { id: 'slow', body: null } })
    await handled.dispatch({ message: { id: 'dup', body: null } })
    await handled.dispatch(incoming)
    expect(await scrape(registry)).toMatchObject({
      'holdfast_deliveries_total{pipeline="billing",outcome="handled"}': 1,
      'holdfast_deliveries_total{pipeline="billing",outcome="duplicate"}': 1,
      'holdfast_deliveries_total{pipeline="billing",outcome="nacked"}': 0,
      'holdfast_in_flight{pipeline="billing"}': 1,
    })
    gate.resolve()
    await slow
    expect(await scrape(registry)).toMatchObject({
      'holdfast_deliveries_total{pipeline="billing",outcome="handled"}': 2,
      'holdfast_attempts_total{pipeline="billing",result="succeeded"}': 2,
      'holdfast_in_flight{pipeline="billing"}': 0,
    })
  })

  it('shows everything again in a registry that was cleared, with all that was counted', async () => {
    const registry = new Registry()
    const handled = pipeline('cleared')
      .use(metrics({ registry }))
      .handle(() => {})
    await handled.dispatch(incoming)
    registry.clear()
    expect(await registry.metrics()).not.toContain('holdfast')
    metrics({ registry })
    await handled.dispatch(incoming)
    const shown = await scrape(registry)
    expect(shown).toMatchObject({ 'holdfast_deliveries_total{pipeline="cleared",outcome="handled"}': 2 })
    expect(Object.entries(shown).filter(([name, value]) => name.includes('_count{') && value === 2)).toHaveLength(1)
  })

  it('counts what is handed back by what waits with it, and passes the very error on', async () => {
    const registry = new Registry()
    const errors: Error[] = [
      new RetryLater(2000),
      new RetryLater(0, { holds: 'lane' }),
      new RetryLater(0, { holds: 'pipeline' }),
      new PermanentError('no'),
    ]
    for (const error of errors)
      await expect(
        pipeline('billing')
          .use(metrics({ registry }))
          .handle(() => Promise.reject(error))
          .dispatch(incoming),
      ).rejects.toBe(error)
    expect(await scrape(registry)).toMatchObject({
      'holdfast_deliveries_total{pipeline="billing",outcome="nacked"}': 4,
      'holdfast_nacks_total{pipeline="billing",holds="message"}': 1,
      'holdfast_nacks_total{pipeline="billing",holds="lane"}': 1,
      'holdfast_nacks_total{pipeline="billing",holds="pipeline"}': 1,
      'holdfast_nacks_total{pipeline="billing",holds="nothing"}': 1,
      'holdfast_retry_delay_seconds_bucket{pipeline="billing",le="1"}': 0,
      'holdfast_retry_delay_seconds_bucket{pipeline="billing",le="2.5"}': 1,
      'holdfast_retry_delay_seconds_sum{pipeline="billing"}': 2,
      'holdfast_in_flight{pipeline="billing"}': 0,
    })
  })

  it('times deliveries into cumulative buckets, by where they come from', async () => {
    const registry = new Registry()
    const handled = pipeline('billing')
      .use(metrics({ registry, buckets: [0.001, 0.01, 10] }))
      .handle(() => new Promise((resolve) => setTimeout(resolve, 15)))
    await handled.dispatch(incoming)
    await handled.dispatch({ ...incoming, origin: { system: 'kafka', destination: 'payments' } })
    const labels = 'pipeline="billing",messaging_system="kafka",messaging_destination_name="orders"'
    const seen = await scrape(registry)
    expect(seen).toMatchObject({
      [`messaging_process_duration_seconds_bucket{${labels},le="0.001"}`]: 0,
      [`messaging_process_duration_seconds_bucket{${labels},le="0.01"}`]: 0,
      [`messaging_process_duration_seconds_bucket{${labels},le="10"}`]: 1,
      [`messaging_process_duration_seconds_bucket{${labels},le="+Inf"}`]: 1,
      [`messaging_process_duration_seconds_count{${labels}}`]: 1,
    })
    expect(seen[`messaging_process_duration_seconds_sum{${labels}}`]).toBeGreaterThan(0.01)
    expect(seen[`messaging_process_duration_seconds_count{${labels.replace('orders', 'payments')}}`]).toBe(1)
  })

  it('counts attempts, retries and their waits as retry() reports them', async () => {
    const registry = new Registry()
    let calls = 0
    await pipeline('billing')
      .use(metrics({ registry }))
      .use(retry({ maxAttempts: 4, backoff: () => 1 }))
      .handle(async () => {
        if (++calls < 3) throw new Error('not yet')
      })
      .dispatch(incoming)
    expect(await scrape(registry)).toMatchObject({
      'holdfast_attempts_total{pipeline="billing",result="failed"}': 2,
      'holdfast_attempts_total{pipeline="billing",result="succeeded"}': 1,
      'holdfast_retries_total{pipeline="billing"}': 2,
      'holdfast_retry_delay_seconds_count{pipeline="billing"}': 2,
    })
  })

  it('counts what stages report of a delivery', async () => {
    const registry = new Registry()
    const delivery = await deliveryOf(registry, 'reporting')
    const error = new Error('x')
    publish('duplicate-seen', { delivery, suppressed: true })
    publish('conflict-seen', { delivery })
    publish('lease-renewed', { delivery })
    publish('lease-lost', { delivery })
    publish('abandoned', { delivery, afterMs: 1 })
    publish('retry-refused', { delivery, error })
    publish('dead-lettered', { delivery, error, reason: 'attempts' })
    publish('dead-letter-failed', { delivery, error, destination: 'd' })
    expect(await scrape(registry)).toMatchObject({
      'holdfast_duplicates_total{pipeline="reporting",suppressed="true"}': 1,
      'holdfast_conflicts_total{pipeline="reporting"}': 1,
      'holdfast_lease_renewals_total{pipeline="reporting"}': 1,
      'holdfast_leases_lost_total{pipeline="reporting"}': 1,
      'holdfast_abandoned_total{pipeline="reporting"}': 1,
      'holdfast_retries_refused_total{pipeline="reporting"}': 1,
      'holdfast_dead_letters_total{pipeline="reporting",reason="attempts"}': 1,
      'holdfast_dead_letters_total{pipeline="reporting",reason="permanent"}': 0,
      'holdfast_dead_letter_failures_total{pipeline="reporting"}': 1,
    })
  })

  it('counts nothing of a pipeline that is measured in another registry', async () => {
    const [one, other] = [new Registry(), new Registry()]
    const delivery = await deliveryOf(one, 'only-one')
    await deliveryOf(other, 'only-other')
    publish('conflict-seen', { delivery })
    expect((await scrape(one))['holdfast_conflicts_total{pipeline="only-one"}']).toBe(1)
    expect(Object.keys(await scrape(other)).filter((name) => name.includes('only-one'))).toEqual([])
  })

  it('shows everything of a pipeline from the start, so that the first failure shows in a rate', async () => {
    const registry = new Registry()
    pipeline('new')
      .use(metrics({ registry }))
      .handle(async () => {})
    const seen = Object.entries(await scrape(registry)).filter(([name]) => name.includes('pipeline="new"'))
    expect(seen.filter(([, value]) => value !== 0)).toEqual([])
    const shown = (instrument: Instrument) =>
      seen.filter(([name]) => new RegExp(`^${promName(instrument)}(_count)?{`).test(name)).length
    const expected: Partial<Record<InstrumentId, number>> = { attempts: 2, deliveries: 7, duplicates: 2, nacks: 4 }
    for (const id of instrumentIds.filter((each) => instruments[each].labels.includes('pipeline'))) {
      // Its series have the origin's name, which comes with a delivery.
      if (id === 'duration') expect(shown(instruments[id])).toBe(0)
      // Those come with parking(), or with its worker.
      else if (/^park|^lane/.test(id)) expect(shown(instruments[id])).toBe(0)
      else if (id === 'deadLetters') expect(shown(instruments[id])).toBe(failureReasons.length)
      else expect([id, shown(instruments[id])]).toEqual([id, expected[id] ?? 1])
    }
  })

  it('lets pipelines share a registry', async () => {
    const registry = new Registry()
    await deliveryOf(registry, 'first')
    await deliveryOf(registry, 'second')
    expect(await scrape(registry)).toMatchObject({
      'holdfast_deliveries_total{pipeline="first",outcome="handled"}': 1,
      'holdfast_deliveries_total{pipeline="second",outcome="handled"}': 1,
    })
  })

  it('bad input: names a metric that the registry already has, in one error, and registers nothing', async () => {
    const registry = new Registry()
    new Counter({ name: 'holdfast_retries_total', help: 'mine', registers: [registry] })
    expect(() => metrics({ registry })).toThrow(
      'metrics: the registry already has holdfast_retries_total: use a registry of its own',
    )
    expect(registry.getMetricsAsArray()).toHaveLength(1)
  })

  it('bad input: names what is no registry', () => {
    // @ts-expect-error no registry
    expect(() => metrics({ registry: {} })).toThrow('metrics: registry must be an object with registerMetric()')
  })

  it('bad input: names buckets that do not rise, and buckets that differ within a registry', () => {
    expect(() => metrics({ registry: new Registry(), buckets: [1, 1] })).toThrow('metrics: buckets must be rising')
    const registry = new Registry()
    metrics({ registry })
    expect(() => metrics({ registry, buckets: [1] })).toThrow('metrics: buckets must be the same for all')
  })

  it('bad input: refuses to count a message twice', () => {
    const registry = new Registry()
    const twice = pipeline('p').use(metrics({ registry })).use(metrics({ registry }))
    expect(() => twice.handle(async () => {})).toThrow('there are two metrics stages')
  })

  it('prints OpenMetrics too', async () => {
    const registry = new Registry<OpenMetricsContentType>()
    registry.setContentType(Registry.OPENMETRICS_CONTENT_TYPE)
    await pipeline('billing')
      .use(metrics({ registry }))
      .handle(async () => {})
      .dispatch(incoming)
    for (let scrape = 0; scrape < 2; scrape++) {
      const text = await registry.metrics()
      expect(text).toContain('# TYPE holdfast_deliveries counter\n')
      expect(text).toContain('holdfast_deliveries_total{pipeline="billing",outcome="handled"} 1\n')
      expect(text).toContain('# TYPE messaging_process_duration_seconds histogram\n')
      expect(text.endsWith('# EOF\n')).toBe(true)
    }
  })

  it('survives a reset of the registry, and adds up over a cluster', async () => {
    const registry = new Registry()
    await deliveryOf(registry, 'billing')
    registry.resetMetrics()
    const seen = await scrape(registry)
    expect(seen['holdfast_deliveries_total{pipeline="billing",outcome="handled"}']).toBe(1)
    const json = await registry.getMetricsAsJSON()
    const merged = await scrape(AggregatorRegistry.aggregate([json, structuredClone(json)]))
    expect(merged['holdfast_deliveries_total{pipeline="billing",outcome="handled"}']).toBe(2)
    expect(
      merged[
        'messaging_process_duration_seconds_count{pipeline="billing",messaging_system="kafka",messaging_destination_name="orders"}'
      ],
    ).toBe(2)
  })
})

describe('processMetrics()', () => {
  it('follows circuits, stores and consumers', async () => {
    const registry = new Registry()
    processMetrics({ registry })
    publish('circuit-changed', { name: 'payments', from: 'closed', to: 'open' })
    publish('store-failed', { store: 'redis', operation: 'claim', error: null })
    publish('consumer-changed', { system: 'kafka', group: 'billing', change: 'joined' })
    expect(await scrape(registry)).toMatchObject({
      'holdfast_circuit_state{circuit="payments",state="open"}': 1,
      'holdfast_circuit_state{circuit="payments",state="closed"}': 0,
      'holdfast_circuit_changes_total{circuit="payments",to="open"}': 1,
      'holdfast_store_failures_total{store="redis",operation="claim"}': 1,
      'holdfast_consumer_changes_total{system="kafka",group="billing",change="joined"}': 1,
    })
  })

  it('follows the outbox, over all relays of the process', async () => {
    const registry = new Registry()
    processMetrics({ registry })
    const gauges = async () => Object.keys(await scrape(registry)).filter((name) => /outbox.*(?<!_total)$/.test(name))
    expect(await gauges()).toEqual([])
    const status = { pending: 7, oldestAgeMs: 1500, delayed: 2, dead: 1, unheld: 0 }
    publish('outbox-status', { relay: 'a', owned: [0, 1], ...status })
    publish('outbox-status', { relay: 'b', owned: [2], ...status, pending: 5 })
    publish('outbox-published', { relay: 'a', shard: 0, messages: 9, dead: 1, lagMs: 30, publishMs: 5 })
    publish('outbox-rotated', { relay: 'a', slot: 1, result: 'busy' })
    publish('outbox-outage', { relay: 'a', shard: 0, error: null, nextInMs: 100 })
    publish('outbox-shard-changed', { relay: 'a', shard: 0, epoch: 1n, change: 'claimed' })
    publish('outbox-shard-changed', { relay: 'a', shard: 1, epoch: 1n, change: 'claimed' })
    for (const shard of [0, 1]) publish('outbox-window', { shard, messages: 9000 })
    publish('outbox-window', { shard: 0, messages: 0 })
    const seen = await scrape(registry)
    expect(seen).toMatchObject({
      holdfast_outbox_pending: 5,
      holdfast_outbox_oldest_age_seconds: 1.5,
      holdfast_outbox_delayed: 2,
      holdfast_outbox_dead_rows: 1,
      holdfast_outbox_shards_owned: 3,
      holdfast_outbox_shards_unheld: 0,
      holdfast_outbox_published_total: 9,
      holdfast_outbox_publish_lag_seconds_count: 1,
      'holdfast_outbox_publish_lag_seconds_bucket{le="0.05"}': 1,
      'holdfast_outbox_publish_lag_seconds_bucket{le="0.025"}': 0,
      'holdfast_outbox_rotations_total{slot="1",result="busy"}': 1,
      'holdfast_outbox_rotations_total{slot="1",result="cleaned"}': 0,
      holdfast_outbox_outages_total: 1,
      'holdfast_outbox_window{shard="0"}': 0,
      'holdfast_outbox_window{shard="1"}': 9000,
      'holdfast_outbox_shard_changes_total{change="claimed"}': 2,
      'holdfast_outbox_shard_changes_total{change="lost"}': 0,
    })
    expect(seen['holdfast_outbox_status_timestamp_seconds']).toBeGreaterThan(1.6e9)
    publish('outbox-status', { relay: 'a', owned: [0, 1], ...status, pending: 6 })
    expect(await scrape(registry)).toMatchObject({ holdfast_outbox_pending: 6, holdfast_outbox_shards_owned: 3 })
    publish('outbox-shard-changed', { relay: 'a', shard: 1, epoch: 1n, change: 'lost' })
    expect(await scrape(registry)).toMatchObject({
      'holdfast_outbox_window{shard="1"}': 0,
      'holdfast_outbox_shard_changes_total{change="lost"}': 1,
    })
    publish('outbox-relay-ended', { relay: 'b' })
    expect(await scrape(registry)).toMatchObject({ holdfast_outbox_pending: 6, holdfast_outbox_shards_owned: 2 })
  })

  it('asks parts and budgets whenever somebody looks', async () => {
    const registry = new Registry()
    let ready = true
    const consumer: HasHealth = {
      health: () => ({ name: 'kafka billing', live: true, ready, details: { inFlight: 3, held: 1, crashed: false } }),
    }
    const budget = retryBudget({ name: 'payments', maxTokens: 20 })
    const tenants = bulkhead({ name: 'tenants', maxConcurrent: 1, by: ({ key }) => key ?? '' })
    const { promise: opened, resolve: open } = Promise.withResolvers<void>()
    const limited = pipeline('limited')
      .use(tenants)
      .handle(() => opened)
    const runs = limited.dispatch({ message: { id: 'runs', body: null, key: 'a' } })
    await expect(limited.dispatch({ message: { id: 'waits', body: null, key: 'a' } })).rejects.toThrow('run already')
    processMetrics({ registry, parts: { consumer, tenants }, budgets: [budget] })
    expect(await scrape(registry)).toMatchObject({
      'holdfast_part_ready{part="consumer"}': 1,
      'holdfast_part_live{part="consumer"}': 1,
      'holdfast_lanes{part="consumer",state="in-flight"}': 3,
      'holdfast_lanes{part="consumer",state="held"}': 1,
      'holdfast_limit_places{part="tenants",state="running"}': 1,
      'holdfast_limit_places{part="tenants",state="waiting"}': 1,
      'holdfast_retry_budget{budget="payments"}': 20,
    })
    open()
    expect(await runs).toBe('handled')
    expect((await scrape(registry))['holdfast_limit_places{part="tenants",state="running"}']).toBe(0)
    ready = false
    void budget.spend('m1')
    expect(await scrape(registry)).toMatchObject({
      'holdfast_part_ready{part="consumer"}': 0,
      'holdfast_retry_budget{budget="payments"}': 19,
    })
  })

  it('shows the rest where a part, a budget or an event tells what is no number', async () => {
    const registry = new Registry()
    const crashing: HasHealth = {
      health: () => {
        throw new Error('gone')
      },
    }
    const mute = {
      name: 'mute',
      get tokens(): number {
        throw new Error('gone')
      },
    }
    processMetrics({ registry, parts: { crashing }, budgets: [{ name: 'nan', tokens: NaN }, mute] })
    const page = { relay: 'a', shard: 0, dead: 0, lagMs: 1, publishMs: 1 }
    publish('outbox-published', { ...page, messages: -1 })
    publish('circuit-changed', { name: 'payments', from: 'closed', to: 'open' })
    const seen = await scrape(registry)
    expect(seen).toMatchObject({
      'holdfast_part_ready{part="crashing"}': 0,
      'holdfast_circuit_changes_total{circuit="payments",to="open"}': 1,
    })
    expect(Object.keys(seen).filter((name) => name.startsWith('holdfast_retry_budget'))).toEqual([])
  })

  it('lets a pipeline join the registry later', async () => {
    const registry = new Registry()
    processMetrics({ registry })
    await deliveryOf(registry, 'later')
    expect((await scrape(registry))['holdfast_deliveries_total{pipeline="later",outcome="handled"}']).toBe(1)
  })
})

describe('the instruments', () => {
  it('follow the conventions of Prometheus in their names', async () => {
    const registry = new Registry()
    processMetrics({ registry })
    for (const { name, type, help } of await registry.getMetricsAsJSON()) {
      expect(name).toMatch(/^(holdfast|messaging)_[a-z]+(_[a-z]+)*$/)
      expect(name.endsWith('_total')).toBe(String(type) === 'counter')
      expect(help).not.toBe('')
    }
    expect(registry.getMetricsAsArray()).toHaveLength(Object.keys(instruments).length)
  })
})
