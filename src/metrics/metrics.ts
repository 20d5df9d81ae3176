import { Counter, Gauge, Histogram, type OpenMetricsContentType, type Registry } from 'prom-client'
import type { Middleware } from '../core/delivery.ts'
import { HoldfastError } from '../core/errors.ts'
import { durationBounds, instruments, instrumentIds, type Instrument } from '../core/recorder/instruments.ts'
import { badOption, checkOptions, having, list, required } from '../core/options.ts'
import { recorder, watchedKinds, type Recorder, type Watched } from '../core/recorder/recorder.ts'
import { bins, type Bins } from '../core/recorder/series.ts'

/** A prom-client registry, in the format of Prometheus or OpenMetrics. */
type AnyRegistry = Registry | Registry<OpenMetricsContentType>

export interface MetricsOptions {
  /** The registry that your `/metrics` page prints. All pipelines may share one. */
  readonly registry: AnyRegistry
  /** The upper bounds of the histograms, in seconds. @defaultValue 5 ms to 60 s in 14 steps */
  readonly buckets?: readonly number[]
}

/** Counts and times a pipeline's deliveries, and counts the events of its stages, in a prom-client registry. */
export function metrics(options: MetricsOptions): Middleware {
  const { registry, buckets = durationBounds } = checkOptions('metrics', options, metricsKinds)
  return recorderOf('metrics', registry, buckets).middleware
}

export interface ProcessMetricsOptions extends MetricsOptions, Watched {}

/**
 * Adds metrics that belong to no pipeline to a registry: circuits, stores, consumers and the outbox, from their events. It
 * also shows the health of the given `parts` and the tokens of the given `budgets` at the time of each scrape.
 */
export function processMetrics(options: ProcessMetricsOptions): void {
  const {
    registry,
    buckets = durationBounds,
    ...watched
  } = checkOptions('processMetrics', options, { ...metricsKinds, ...watchedKinds })
  recorderOf('processMetrics', registry, buckets).watch(watched)
}

const metricsKinds = { registry: required(having('registerMetric', 'getSingleMetric')), buckets: list }

/** What is counted for a registry. It outlives what the registry itself knows of it. */
interface Kept {
  readonly recorder: Recorder
  readonly histograms: ReadonlyMap<Instrument, readonly Bins[]>
  readonly buckets: readonly number[]
}

const registered = new WeakMap<AnyRegistry, Kept>()

/** One for each registry: the pipelines of a process share their instruments. */
function recorderOf(where: string, registry: AnyRegistry, buckets: readonly number[]): Recorder {
  const known = registered.get(registry)
  if (known !== undefined) {
    if (known.buckets.join() === buckets.join()) {
      // A registry that was cleared shows them again, with all that was counted.
      if (registry.getSingleMetric(promName(instruments.deliveries)) === undefined) expose(registry, known)
      return known.recorder
    }
    throw badOption(
      where,
      'buckets',
      `the same for all that share a registry (${known.buckets.join()})`,
      buckets.join(),
    )
  }
  if (buckets.length === 0 || buckets.some((bound, at) => !(bound > (buckets[at - 1] ?? 0))))
    throw badOption(where, 'buckets', 'rising numbers above 0', buckets.join())
  const taken = Object.values(instruments)
    .map(promName)
    .filter((name) => registry.getSingleMetric(name) !== undefined)
  if (taken.length > 0)
    throw new HoldfastError(
      'bad-option',
      `${where}: the registry already has ${taken.join(', ')}: use a registry of its own, and merge them for the page (is holdfast installed twice?)`,
    )
  const kept = keep(buckets)
  registered.set(registry, kept)
  expose(registry, kept)
  return kept.recorder
}

function keep(buckets: readonly number[]): Kept {
  const histograms = new Map<Instrument, Bins[]>()
  const made = recorder({
    distributionOf(instrument, labels) {
      const one = bins(buckets, promLabels(labels))
      histograms.get(instrument)?.push(one)
      return one
    },
  })
  for (const id of instrumentIds) if (instruments[id].kind === 'histogram') histograms.set(instruments[id], [])
  return { recorder: made, histograms, buckets }
}

function expose(registry: AnyRegistry, { recorder: all, histograms, buckets }: Kept): void {
  for (const id of instrumentIds) {
    const instrument = instruments[id]
    const name = promName(instrument)
    const configuration = {
      name,
      help: instrument.help,
      labelNames: instrument.labels.map(promLabel),
      registers: [registry],
    }
    function sync(metric: Counter | Gauge): void {
      all.refresh(id)
      metric.reset()
      // Without labels it would show 0 where nothing is known.
      if (instrument.kind === 'gauge' && instrument.labels.length === 0) metric.remove()
      for (const { labels, value } of all.series(id).all())
        if (isShowable(instrument, value)) metric.inc(promLabels(labels), value)
    }
    if (instrument.kind === 'histogram') {
      exposeBins(new Histogram(configuration), name, histograms.get(instrument) ?? [], buckets)
    } else if (instrument.kind === 'counter') {
      const counter: Counter = new Counter({ ...configuration, collect: () => sync(counter) })
    } else {
      const aggregator = instrument.over
      const gauge: Gauge = new Gauge({
        ...configuration,
        ...(aggregator && { aggregator }),
        collect: () => sync(gauge),
      })
    }
  }
}

/** What prom-client would throw for is left out: one bad number must not take the whole page down. */
function isShowable({ kind }: Instrument, value: number): boolean {
  return Number.isFinite(value) && (kind !== 'counter' || value >= 0)
}

/** Shows our own bins in place of the histogram's, whose `observe` hashes the labels every time. */
function exposeBins(histogram: Histogram, name: string, kept: readonly Bins[], buckets: readonly number[]): void {
  const empty = histogram.get()
  const read = async (): typeof empty => {
    const values = kept.flatMap(({ labels, counts, sum }) => {
      let count = 0
      const upTo = [...buckets.map(String), '+Inf'].map((le, at) => {
        count += counts[at] ?? 0
        return { metricName: `${name}_bucket`, labels: { ...labels, le }, value: count }
      })
      return [
        ...upTo,
        { metricName: `${name}_sum`, labels, value: sum },
        { metricName: `${name}_count`, labels, value: count },
      ]
    })
    return { ...(await empty), values }
  }
  // The page is printed from the second, everything else from the first.
  Object.assign(histogram, { get: read, getForPromString: read })
}

/** Prometheus wants the base unit at the end of a name, and `total` after what only grows. */
export function promName({ name, unit, kind }: Instrument): string {
  const parts = [
    name.replaceAll('.', '_'),
    ...(unit === 's' ? ['seconds'] : []),
    ...(kind === 'counter' ? ['total'] : []),
  ]
  return parts.join('_')
}

function promLabel(label: string): string {
  return label.replaceAll('.', '_')
}

function promLabels(labels: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(labels).map(([label, value]) => [promLabel(label), value]))
}
