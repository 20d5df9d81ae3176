import { cpus, totalmem } from 'node:os'
import type { Row } from './measure.ts'
import { reasonOf } from './reasons.ts'

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

/** A page of one area: what it ran on, the table, and why targets are missed. */
export function page(area: string, versions: readonly string[], rows: readonly Row[]): string {
  const missed = rows.filter(({ met }) => met === false)
  return [
    `# ${area}`,
    `Written by \`npm run bench -- ${area} --write\` on ${new Date().toISOString().slice(0, 10)}. ${[hardware(), ...versions].join('; ')}.`,
    `A ratio is the median of interleaved rounds, with its quartiles. Where a target is in ns, ms or bytes, the ratio is the part of it that is used.`,
    table(rows),
    `![${area}](${area}.svg)`,
    ...(missed.length === 0 ? [] : ['## Missed', missed.map(missedLine).join('\n')]),
  ].join('\n\n')
}

function missedLine(row: Row): string {
  return `- ${row.name}, beside ${row.beside} (${times(row.ratio)}, wanted ${row.target}): ${reasonOf(row)}`
}

export function times(ratio: number): string {
  return `${ratio >= 100 ? ratio.toFixed(0) : ratio >= 10 ? ratio.toFixed(1) : ratio.toFixed(2)}×`
}
