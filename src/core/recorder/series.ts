import type { Instrument } from './instruments.ts'

/** One value with its labels. The hot path holds on to it and adds: no label is looked at again. */
export interface Series {
  readonly labels: Readonly<Record<string, string>>
  value: number
}

/** Takes measurements, in seconds. */
export interface Distribution {
  observe(this: void, seconds: number): void
}

/** How a room keeps its histograms: in bins of its own, or with OpenTelemetry. */
export type DistributionOf = (instrument: Instrument, labels: Readonly<Record<string, string>>) => Distribution

/** All series of one instrument. */
export interface Family<Kept> {
  readonly instrument: Instrument
  /** The series of these label values, in the order of the instrument's labels. */
  of(...values: readonly string[]): Kept
  all(): Iterable<Kept>
  /** Forgets them: what is no longer known is not shown. */
  clear(): void
}

// Label values come from code and configuration; should one of them grow all the same, memory and queries stay bounded.
const mostSeries = 1000
const overflow = 'other'

export function family<Kept>(
  instrument: Instrument,
  create: (labels: Readonly<Record<string, string>>) => Kept,
): Family<Kept> {
  const known = new Map<string, Kept>()

  function of(...values: readonly string[]): Kept {
    const id = values.join('\0')
    const found = known.get(id)
    if (found !== undefined) return found
    if (known.size >= mostSeries && values.some((value) => value !== overflow)) return of(...values.map(() => overflow))
    const made = create(Object.fromEntries(instrument.labels.map((label, at) => [label, values[at] ?? ''])))
    known.set(id, made)
    return made
  }

  return { instrument, of, all: () => known.values(), clear: () => known.clear() }
}

/** Bins of one histogram: how many measurements lay under each bound, and beyond the last. */
export interface Bins extends Distribution {
  readonly labels: Readonly<Record<string, string>>
  /** One more than there are bounds; each counts its own range only. */
  readonly counts: Float64Array
  sum: number
}

export function bins(bounds: readonly number[], labels: Readonly<Record<string, string>>): Bins {
  const counts = new Float64Array(bounds.length + 1)
  const kept: Bins = {
    labels,
    counts,
    sum: 0,
    observe(seconds) {
      let at = 0
      while (at < bounds.length && seconds > (bounds[at] ?? Infinity)) at++
      counts[at] = (counts[at] ?? 0) + 1
      kept.sum += seconds
    },
  }
  return kept
}
