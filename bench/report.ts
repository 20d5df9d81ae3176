import { cpus, totalmem } from 'node:os'
import type { Row } from './measure.ts'

/** What it ran on, since no figure means anything without. */
export function hardware(): string {
  const [cpu] = cpus()
  const memory = `${Math.round(totalmem() / 2 ** 30)} GiB`
  return `Node ${process.version}, ${cpus().length} × ${cpu?.model.trim() ?? 'unknown'}, ${memory}, ${process.platform}`
}

/** The rows as a Markdown table. */
export function table(rows: readonly Row[]): string {
  return [
    '| what | beside | ratio | quartiles | target | met | medians |',
    '| --- | --- | --- | --- | --- | --- | --- |',
    ...rows.map(({ name, beside, ratio, quartiles: [low, high], target, met, detail }) => {
      const judged = met === null ? '–' : met ? 'yes' : '**no**'
      return `| ${name} | ${beside} | ${times(ratio)} | ${times(low)} – ${times(high)} | ${target} | ${judged} | ${detail} |`
    }),
  ].join('\n')
}

export function times(ratio: number): string {
  return `${ratio >= 100 ? ratio.toFixed(0) : ratio >= 10 ? ratio.toFixed(1) : ratio.toFixed(2)}×`
}
