import { metrics as otelApi } from '@opentelemetry/api'
import {
  AggregationTemporality,
  InMemoryMetricExporter,
  MeterProvider,
  PeriodicExportingMetricReader,
} from '@opentelemetry/sdk-metrics'
import { Registry } from 'prom-client'
import { afterEach, describe, expect, it } from 'vitest'
import { pipeline, retry, type Delivery, type Incoming } from 'holdfast'
import { retryBudget } from 'holdfast/policies'
import { metrics } from 'holdfast/metrics'
import { otelMetrics, otelProcessMetrics } from 'holdfast/tracing'
import { instruments } from '../../src/core/recorder/instruments.ts'
import { promName } from '../../src/metrics/metrics.ts'
import { tellOfEverything } from '../metrics/support.ts'

const incoming: Incoming = { message: { id: 'm', body: null }, origin: { system: 'kafka', destination: 'orders' } }

function sdk() {
  const exporter = new InMemoryMetricExporter(AggregationTemporality.CUMULATIVE)
  const reader = new PeriodicExportingMetricReader({ exporter, exportIntervalMillis: 3_600_000 })
  const meterProvider = new MeterProvider({ readers: [reader] })
  return {
    meterProvider,
    /** Each instrument's points, as `[attributes, value]`. */
    async read() {
      await meterProvider.forceFlush()
      const [last] = exporter.getMetrics().slice(-1)
      const all = (last?.scopeMetrics ?? []).flatMap((scope) => scope.metrics)
      return new Map(
        all.map(({ descriptor, dataPoints }) => [
          descriptor.name,
          dataPoints.map((point): [unknown, unknown] => [point.attributes, point.value]),
        ]),
      )
    },
  }
}

afterEach(() => otelApi.disable())

describe('otelMetrics()', () => {
  it('counts through OpenTelemetry what metrics() counts', async () => {
    const { meterProvider, read } = sdk()
    let calls = 0
    await pipeline('billing')
      .use(otelMetrics({ meterProvider }))
      .use(retry({ backoff: () => 1 }))
      .handle(async () => {
        if (++calls === 1) throw new Error('not yet')
      })
      .dispatch(incoming)
    const seen = await read()
    expect(seen.get('holdfast.deliveries')).toContainEqual([
      { 'holdfast.pipeline': 'billing', 'holdfast.outcome': 'handled' },
      1,
    ])
    expect(seen.get('holdfast.attempts')).toContainEqual([
      { 'holdfast.pipeline': 'billing', 'holdfast.result': 'succeeded' },
      1,
    ])
    expect(seen.get('holdfast.retries')).toEqual([[{ 'holdfast.pipeline': 'billing' }, 1]])
    expect(seen.get('messaging.process.duration')).toMatchObject([
      [
        {
          'holdfast.pipeline': 'billing',
          'messaging.operation.name': 'process',
          'messaging.system': 'kafka',
          'messaging.destination.name': 'orders',
        },
        { count: 1 },
      ],
    ])
  })

  it('has the instruments of metrics(), all of them', async () => {
    const { meterProvider, read } = sdk()
    let delivery: Delivery | undefined
    const handled = pipeline('both')
      .use(otelMetrics({ meterProvider }))
      .handle(async (given) => {
        delivery = given
      })
    await handled.dispatch(incoming)
    otelProcessMetrics({
      meterProvider,
      budgets: [retryBudget()],
      parts: {
        part: {
          health: () => ({ name: 'x', live: true, ready: false, details: { held: 2, maxConcurrent: 1, waiting: 0 } }),
        },
      },
    })
    tellOfEverything(delivery)
    const seen = await read()
    expect(seen.get('holdfast.part.ready')).toEqual([[{ 'holdfast.part': 'part' }, 0]])
    expect(seen.get('holdfast.lanes')).toEqual([[{ 'holdfast.part': 'part', 'holdfast.state': 'held' }, 2]])
    const registry = new Registry()
    metrics({ registry })
    const names = Object.values(instruments)
    expect([...seen.keys()].sort()).toEqual(names.map(({ name }) => name).sort())
    const printed = registry.getMetricsAsArray().map(({ name }) => name)
    expect(printed.sort()).toEqual(names.map(promName).sort())
  })

  it('uses the registered provider, one recorder for all pipelines', async () => {
    const { meterProvider, read } = sdk()
    otelApi.setGlobalMeterProvider(meterProvider)
    for (const name of ['first', 'second'])
      await pipeline(name)
        .use(otelMetrics())
        .handle(async () => {})
        .dispatch(incoming)
    const handled = (await read()).get('holdfast.deliveries')?.filter(([, value]) => value === 1)
    expect(handled).toHaveLength(2)
  })

  it('does nothing where no SDK is registered, and the message is handled', async () => {
    const handled = pipeline('quiet')
      .use(otelMetrics())
      .handle(async () => {})
    await expect(handled.dispatch(incoming)).resolves.toBe('handled')
  })
})
