import { times } from './report.ts'
import type { Row } from './measure.ts'

const barHeight = 18
const rowHeight = 34
const left = 330
const width = 900

/** One bar a row, on a logarithmic scale, with its quartiles and the target as a line. */
export function chart(title: string, rows: readonly Row[]): string {
  const most = Math.max(2, ...rows.map(({ ratio, quartiles }) => Math.max(ratio, quartiles[1])))
  const least = Math.max(0.01, Math.min(0.5, ...rows.map(({ ratio }) => ratio)))
  const place = (ratio: number): number =>
    left +
    ((Math.log(Math.max(ratio, least)) - Math.log(least)) / (Math.log(most) - Math.log(least))) * (width - left - 80)
  const bars = rows.map((row, index) => {
    const y = 50 + index * rowHeight
    const [low, high] = row.quartiles
    const wanted = row.target.endsWith('×') ? Number(/[\d.]+/.exec(row.target)?.[0]) : 1
    const colour = row.met === false ? '#b45309' : '#0f766e'
    return [
      `<text x="${left - 12}" y="${y + 13}" text-anchor="end">${escape(`${row.name} / ${row.beside}`)}</text>`,
      `<rect x="${place(least)}" y="${y}" width="${Math.max(1, place(row.ratio) - place(least))}" height="${barHeight}" rx="2" fill="${colour}"/>`,
      `<line x1="${place(low)}" x2="${place(high)}" y1="${y + 9}" y2="${y + 9}" stroke="#fff" stroke-width="2"/>`,
      row.met !== null
        ? `<line x1="${place(wanted)}" x2="${place(wanted)}" y1="${y - 4}" y2="${y + barHeight + 4}" stroke="#111" stroke-dasharray="3 2"/>`
        : '',
      `<text x="${place(Math.max(row.ratio, high)) + 8}" y="${y + 13}">${times(row.ratio)}</text>`,
    ].join('\n')
  })
  const height = 60 + rows.length * rowHeight
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="system-ui, sans-serif" font-size="12">`,
    `<rect width="${width}" height="${height}" fill="#fff"/>`,
    `<text x="16" y="26" font-size="15" font-weight="600">${escape(title)}: ratios, logarithmic; dashed: target</text>`,
    ...bars,
    '</svg>\n',
  ].join('\n')
}

function escape(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
}
