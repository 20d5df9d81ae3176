import { metrics, type Attributes, type Histogram, type MeterProvider, type ObservableResult } from '@opentelemetry/api'
import type { Middleware } from '../core/delivery.ts'
import { instrumentIds, instruments, durationBounds, type Instrument } from '../core/recorder/instruments.ts'
import { checkOptions, having } from '../core/options.ts'
import { recorder, watchedKinds, type Recorder, type Watched } from '../core/recorder/recorder.ts'
import { attributes as names, operations } from './semconv.ts'

export interface OtelMetricsOptions {
  /** @defaultValue the one registered with OpenTelemetry when the pipeline is built */
  readonly meterProvider?: MeterProvider
}

/** Records the instruments of `metrics()` with OpenTelemetry. Start the SDK before you build pipelines. */
export function otelMetrics(options: OtelMetricsOptions = {}): Middleware {
  const { meterProvider = metrics.getMeterProvider() } = checkOptions('otelMetrics', options, {
    meterProvider: providerKind,
  })
  return recorderOf(meterProvider).middleware
}

export interface OtelProcessMetricsOptions extends OtelMetricsOptions, Watched {}

/** Records the instruments of `processMetrics()` with OpenTelemetry. */
export function otelProcessMetrics(options: OtelProcessMetricsOptions = {}): void {
  const { meterProvider = metrics.getMeterProvider(), ...watched } = checkOptions('otelProcessMetrics', options, {
    ...watchedKinds,
    meterProvider: providerKind,
  })
  recorderOf(meterProvider).watch(watched)
}

const providerKind = having('getMeter')
const known = new WeakMap<MeterProvider, Recorder>()

function recorderOf(provider: MeterProvider): Recorder {
  const made = known.get(provider) ?? register(provider)
  known.set(provider, made)
  return made
}

function register(provider: MeterProvider): Recorder {
  const meter = provider.getMeter('holdfast')
  const advice = { explicitBucketBoundaries: [...durationBounds] }
  const histograms = new Map<string, Histogram>()
  const all = recorder({
    distributionOf({ name, help: description, unit }, labels) {
      const histogram = histograms.get(name) ?? meter.createHistogram(name, { description, unit, advice })
      histograms.set(name, histogram)
      const attributes = attributesOf(name, labels)
      return { observe: (seconds) => histogram.record(seconds, attributes) }
    },
  })
  for (const id of instrumentIds) {
    const { kind, name, help: description, unit }: Instrument = instruments[id]
    if (kind === 'histogram') continue
    const observed =
      kind === 'counter'
        ? meter.createObservableCounter(name, { description, unit })
        : meter.createObservableGauge(name, { description, unit })
    observed.addCallback((result: ObservableResult) => {
      all.refresh(id)
      for (const { labels, value } of all.series(id).all()) result.observe(value, attributesOf(name, labels))
    })
  }
  return all
}

/** The conventions' labels keep their names; ours are told apart by a prefix. */
function attributesOf(instrument: string, labels: Readonly<Record<string, string>>): Attributes {
  const attributes: Attributes = instrument.startsWith('messaging.')
    ? { [names.operationName]: operations.process }
    : {}
  for (const [label, value] of Object.entries(labels))
    attributes[label.includes('.') ? label : `holdfast.${label}`] = value
  return attributes
}
