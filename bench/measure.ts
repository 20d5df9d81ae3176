/** Something to time: it does its work so many times. */
export interface Contender {
  readonly name: string
  /** Answers how many ms that took, where not all of it is to be counted. */
  run(times: number): Promise<number | void> | void
}

/** What is wanted of a ratio. `speed`: how many times as fast as the other; `cost`: how many times the other's time. */
export type Target = { readonly speed: number } | { readonly cost: number }

export interface Comparison {
  readonly area: string
  readonly name: string
  readonly ours: Contender
  readonly beside: Contender
  readonly target: Target | null
  /** About how long one slice of one side lasts. @defaultValue 150 */
  readonly sliceMs?: number
}

export interface Row {
  readonly area: string
  readonly name: string
  readonly ratio: number
  /** The quarter below and the quarter above of the rounds' ratios. */
  readonly quartiles: readonly [number, number]
  readonly beside: string
  readonly target: string
  readonly met: boolean | null
  /** What the ratio is made of, median of the rounds, or what was measured where there is no other side. */
  readonly detail: string
}

/** Times both sides in turn, round by round, so that a drift of the machine falls on both. */
export async function compare(comparison: Comparison, rounds: number): Promise<Row> {
  const { area, name, ours, beside, target, sliceMs = 150 } = comparison
  const oursTimes = await calibrate(ours, sliceMs)
  const besideTimes = await calibrate(beside, sliceMs)
  const samples: Sample[] = []
  for (let round = 0; round < rounds; round++) {
    const sample = { oursNs: NaN, besideNs: NaN }
    const sides = [
      async () => void (sample.oursNs = await time(ours, oursTimes)),
      async () => void (sample.besideNs = await time(beside, besideTimes)),
    ]
    if (round % 2 === 1) sides.reverse()
    for (const side of sides) await side()
    samples.push(sample)
  }
  return rowOf({ area, name, beside: beside.name, target }, samples)
}

/** One round of a comparison: what one time took on each side. */
export interface Sample {
  readonly oursNs: number
  readonly besideNs: number
}

interface Compared {
  readonly area: string
  readonly name: string
  readonly beside: string
  readonly target: Target | null
}

/** The row of a comparison, from its rounds. */
export function rowOf({ target, ...compared }: Compared, samples: readonly Sample[]): Row {
  const [mine, theirs] = [samples.map(({ oursNs }) => oursNs), samples.map(({ besideNs }) => besideNs)]
  return ratioRow({
    ...compared,
    target,
    ratios: samples.map(({ oursNs, besideNs }) => (isCost(target) ? oursNs / besideNs : besideNs / oursNs)),
    detail: `${duration(quantile(mine, 0.5))} beside ${duration(quantile(theirs, 0.5))}`,
  })
}

export interface Ratios extends Compared {
  readonly ratios: readonly number[]
  readonly detail: string
}

/** The row of the rounds' ratios, judged by the target. */
export function ratioRow({ area, name, beside, target, ratios, detail }: Ratios): Row {
  const ratio = quantile(ratios, 0.5)
  return {
    area,
    name,
    ratio,
    quartiles: [quantile(ratios, 0.25), quantile(ratios, 0.75)],
    beside,
    target: targetText(target),
    met: target === null ? null : isCost(target) ? ratio <= target.cost : ratio >= target.speed,
    detail,
  }
}

interface Limited {
  readonly area: string
  readonly name: string
  readonly beside: string
  readonly values: readonly number[]
  readonly most: number
  readonly unit: string
}

/** The row of a quantity with a limit; its ratio is the part of the limit that is used. */
export function limitRow({ area, name, beside, values, most, unit }: Limited): Row {
  const median = quantile(values, 0.5)
  return {
    area,
    name,
    ratio: median / most,
    quartiles: [quantile(values, 0.25) / most, quantile(values, 0.75) / most],
    beside,
    target: `≤ ${most} ${unit}`,
    met: median <= most,
    detail: `${unit === 'B' ? median.toFixed(0) : median.toFixed(1)} ${unit}`,
  }
}

async function calibrate(contender: Contender, sliceMs: number): Promise<number> {
  let times = 1
  for (;;) {
    const ns = (await time(contender, times)) * times
    if (ns > sliceMs * 1e6 * 0.5) return Math.max(1, Math.round((times * sliceMs * 1e6) / ns))
    times = Math.max(times * 2, Math.min(times * 20, Math.round((times * sliceMs * 1e6) / Math.max(ns, 1))))
  }
}

/** Nanoseconds for one time. */
async function time(contender: Contender, times: number): Promise<number> {
  globalThis.gc?.()
  const startMs = performance.now()
  const tookMs = await contender.run(times)
  return ((tookMs ?? performance.now() - startMs) * 1e6) / times
}

/** So many at once, again and again. Answers the ms. */
export async function inFlight(times: number, atOnce: number, one: () => Promise<unknown>): Promise<number> {
  const startMs = performance.now()
  let left = times
  const lane = async (): Promise<void> => {
    while (left-- > 0) await one()
  }
  await Promise.all(Array.from({ length: atOnce }, lane))
  return performance.now() - startMs
}

export function quantile(values: readonly number[], at: number): number {
  const sorted = values.toSorted((a, b) => a - b)
  const place = (sorted.length - 1) * at
  const below = sorted[Math.floor(place)] ?? NaN
  const above = sorted[Math.ceil(place)] ?? NaN
  return below + (above - below) * (place - Math.floor(place))
}

export function targetText(target: Target | null): string {
  if (target === null) return '–'
  return isCost(target) ? `≤ ${target.cost}×` : `≥ ${target.speed}×`
}

export function isCost(target: Target | null): target is { readonly cost: number } {
  return target !== null && 'cost' in target
}

export function duration(ns: number): string {
  if (ns < 1000) return `${ns.toFixed(0)} ns`
  if (ns < 1e6) return `${(ns / 1000).toFixed(1)} µs`
  return `${(ns / 1e6).toFixed(1)} ms`
}
