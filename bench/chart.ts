import { times } from './report.ts'
import type { Row } from './measure.ts'

const rowHeight = 44
const barHeight = 16
const left = 16
const width = 900
const colours = { met: '#0f766e', missed: '#b45309', none: '#64748b' }

/** One bar a row, on a logarithmic scale, with its quartiles and the target as a line. */
export function chart(title: string, rows: readonly Row[]): string {
  const most = Math.max(2, ...rows.map((row) => Math.max(row.ratio, row.quartiles[1], wantedOf(row) ?? 0)))
  const least = Math.max(0.01, Math.min(0.5, ...rows.map(({ ratio }) => ratio / 2)))
  const place = (ratio: number): number =>
    left + ((Math.log(Math.max(ratio, least)) - Math.log(least)) / (Math.log(most) - Math.log(least))) * (width - 110)
  const bars = rows.map((row, index) => {
    const y = 66 + index * rowHeight
    const [low, high] = row.quartiles
    const wanted = wantedOf(row) ?? least
    const colour = row.met === null ? colours.none : row.met ? colours.met : colours.missed
    return [
      `<text x="${left}" y="${y - 5}">${escape(row.name)} <tspan fill="#64748b">beside ${escape(row.beside)}</tspan></text>`,
      `<rect x="${left}" y="${y}" width="${Math.max(1, place(row.ratio) - left)}" height="${barHeight}" rx="2" fill="${colour}"/>`,
      `<line x1="${place(low)}" x2="${place(high)}" y1="${y + 8}" y2="${y + 8}" stroke="#fff" stroke-width="2"/>`,
      row.met === null
        ? ''
        : `<line x1="${place(wanted)}" x2="${place(wanted)}" y1="${y - 3}" y2="${y + barHeight + 3}" stroke="#111" stroke-width="1.5" stroke-dasharray="3 2"/>`,
      `<text x="${place(Math.max(row.ratio, high, wanted)) + 8}" y="${y + 12}">${times(row.ratio)}</text>`,
    ].join('\n')
  })
  const height = 66 + rows.length * rowHeight
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    `<text x="${left}" y="26" font-size="15" font-weight="600">${escape(title)}: ratios on a logarithmic scale</text>`,
    `<text x="${width - left}" y="26" text-anchor="end" fill="#64748b">dashed: target; orange: missed; grey: no target; white: quartiles</text>`,
    ...bars,
    '</svg>\n',
  ].join('\n')
}

/** The target as a ratio; what is used of a limit is wanted to be less than all of it. */
function wantedOf({ met, target }: Row): number | undefined {
  if (met === null) return undefined
  return target.endsWith('×') ? Number(/[\d.]+/.exec(target)?.[0]) : 1
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
