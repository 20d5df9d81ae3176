import { Registry } from 'prom-client'
import { describe, expect, it } from 'vitest'
import { deadLetter, idempotency, pipeline, RetryLater } from 'holdfast'
import { memoryIdempotencyStore } from 'holdfast/memory'
import { metrics, processMetrics } from 'holdfast/metrics'
import { parking, parkingWorker } from 'holdfast/parking'
import { tracing } from 'holdfast/tracing'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { scrape } from '../metrics/support.ts'
import { linksOf, parentOf, withSdk } from './support.ts'

describe('what is seen of parked messages', () => {
  const sdk = withSdk()
  const named = (name: string) => sdk.spans().filter((span) => span.name === name)

  it('is a park span in the trace, a run that links to it and says how long it was parked, and the metrics', async () => {
    const clock = fakeClock()
    const store = memoryIdempotencyStore({ clock })
    const registry = new Registry()
    processMetrics({ registry })
    let isDown = true
    const orders = pipeline('seen')
      .use(tracing({ clock }))
      .use(metrics({ registry }))
      .use(deadLetter({ to: { publish: () => Promise.resolve() } }))
      .use(parking({ store, clock }))
      .use(idempotency({ store, clock }))
      .handle(() => {
        if (isDown) throw new RetryLater(5_000)
      })
    const origin = { system: 'kafka', destination: 'orders', partition: '3', position: '41', group: 'billing' }
    for (const id of ['m-1', 'm-2']) await orders.dispatch({ message: { id, key: 'A', body: null }, origin })

    const [first, second] = named('park orders')
    const [delivered] = named('process orders')
    if (first === undefined || delivered === undefined) throw new Error('there are no spans')
    expect(parentOf(first)).toBe(delivered.spanContext().spanId)
    expect(first.attributes).toMatchObject({ 'holdfast.park.place': 'head', 'holdfast.park.after_ms': 5_000 })
    expect(second?.attributes).toMatchObject({ 'holdfast.park.place': 'behind' })

    isDown = false
    const stop = new AbortController()
    const running = parkingWorker({ store, pipelines: [orders], clock }).run(stop.signal)
    await clock.advance(4_000)
    expect(await scrape(registry)).toMatchObject({
      'holdfast_parked_total{pipeline="seen",place="head"}': 1,
      'holdfast_parked_total{pipeline="seen",place="behind"}': 1,
      'holdfast_parked_lanes{pipeline="seen"}': 1,
      'holdfast_parked_messages{pipeline="seen"}': 2,
    })
    await clock.advance(2_000)
    stop.abort()
    await clock.advance(0)
    await running

    const again = named('process orders').find(({ attributes }) => 'holdfast.parked.age_ms' in attributes)
    if (again === undefined) throw new Error('nothing ran again')
    expect(linksOf(again)).toEqual([first.spanContext().spanId])
    expect(again.attributes['holdfast.parked.age_ms']).toBeGreaterThanOrEqual(5_000)
    const after = await scrape(registry)
    expect(after['holdfast_parked_lane_changes_total{pipeline="seen",change="freed"}']).toBe(1)
    // The worker has ended: nobody knows what is parked now.
    expect(after['holdfast_parked_lanes{pipeline="seen"}']).toBeUndefined()
  })
})
