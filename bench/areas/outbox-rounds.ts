import { isCost, quantile, targetText, type Row, type Target } from '../measure.ts'

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

export interface RowParts {
  readonly name: string
  readonly beside: string
  readonly ratios: readonly number[]
  readonly target: Target | null
  readonly detail: string
}

export function row({ name, beside, ratios, target, detail }: RowParts): Row {
  const ratio = quantile(ratios, 0.5)
  return {
    area: 'outbox',
    name,
    ratio,
    quartiles: [quantile(ratios, 0.25), quantile(ratios, 0.75)],
    beside,
    target: targetText(target),
    met: target === null ? null : isCost(target) ? ratio <= target.cost : ratio >= target.speed,
    detail,
  }
}

function rate(perSecond: number): string {
  return `${Math.round(perSecond).toLocaleString('en')}/s`
}

function inMs(ms: number): string {
  return `${ms.toFixed(2)} ms`
}
