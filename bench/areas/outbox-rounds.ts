import { isCost, quantile, ratioRow, type Ratios, type Row, type Target } from '../measure.ts'

/** One way to do it, which times itself: what it needs is set up outside of the time. */
export interface Side {
  readonly name: string
  /** Resolves to how many a second, or to how many ms one took where the target is a `cost`. */
  measure(): Promise<number>
}

export interface Duel {
  readonly name: string
  readonly ours: Side
  readonly beside: Side
  readonly target: Target | null
  /** What else the rounds have shown. */
  readonly remark?: () => string
}

/** Both in turn, round by round, so that a drift of the machine falls on both. */
export async function duel({ name, ours, beside, target, remark }: Duel, rounds: number): Promise<Row> {
  const pairs: { readonly mine: number; readonly theirs: number }[] = []
  for (let round = 0; round < rounds; round++) {
    if (round % 2 === 0) {
      const mine = await ours.measure()
      pairs.push({ mine, theirs: await beside.measure() })
    } else {
      const theirs = await beside.measure()
      pairs.push({ mine: await ours.measure(), theirs })
    }
  }
  const unit = isCost(target) ? inMs : rate
  const [mine, theirs] = [pairs.map((pair) => pair.mine), pairs.map((pair) => pair.theirs)]
  return row({
    name,
    beside: beside.name,
    ratios: pairs.map((pair) => pair.mine / pair.theirs),
    target,
    detail: `${unit(quantile(mine, 0.5))} beside ${unit(quantile(theirs, 0.5))}${remark === undefined ? '' : `; ${remark()}`}`,
  })
}

export function row(parts: Omit<Ratios, 'area'>): Row {
  return ratioRow({ area: 'outbox', ...parts })
}

function rate(perSecond: number): string {
  return `${Math.round(perSecond).toLocaleString('en')}/s`
}

function inMs(ms: number): string {
  return `${ms.toFixed(2)} ms`
}
