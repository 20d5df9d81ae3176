import { coffees } from '../orders.ts'
import { html, type Html } from './html.ts'
import { shownSeconds, slide, windowSeconds, type Clicks } from './windows.ts'

const [width, height, room] = [480, 210, 125]

/** The windows of all coffees as lines, each with its name at its end. */
export function chart(clicks: Clicks, nowMs: number): Html {
  const nowSecond = Math.floor(nowMs / 1000)
  const lines = coffees.map((name, at) => ({ name, at, points: slide(clicks, name, nowSecond) }))
  const top = Math.max(10, ...lines.flatMap(({ points }) => points))
  const x = (at: number) => Math.round((at / (shownSeconds - 1)) * (width - room))
  const y = (count: number) => Math.round(height - 20 - (count / top) * (height - 36))
  const last = ({ points }: { readonly points: readonly number[] }) => points.at(-1) ?? 0
  let below = -Infinity
  const labels = [...lines]
    .sort((a, b) => last(b) - last(a))
    .map((line) => {
      below = Math.max(y(last(line)) + 4, below + 15)
      return { ...line, labelY: below }
    })
  // What ran out at the bottom moves up again.
  const over = Math.max(0, below - height + 20)
  const said = lines.map((line) => `${line.name} ${last(line)}`).join(', ')
  return html`<svg viewBox="0 0 ${width} ${height}" role="img" aria-label="Looks in ${windowSeconds} s: ${said}">
    <path class="axis" d="M0 ${y(0)} H${width - room} M0 ${y(top)} H${width - room}" />
    <text class="tick" x="0" y="${y(top) - 4}">${top}</text>
    <text class="tick" x="0" y="${height - 4}">${shownSeconds} s ago</text>
    <text class="tick end" x="${width - room}" y="${height - 4}">now</text>
    ${lines.map(
      ({ at, points }) =>
        html`<path class="line c${at}" d="M${points.map((count, second) => `${x(second)} ${y(count)}`).join(' L')}" />`,
    )}
    ${labels.map(
      (line) =>
        html`<text class="name c${line.at}" x="${width - room + 8}" y="${line.labelY - over}">
          ${line.name} ${last(line)}
        </text>`,
    )}
  </svg>`
}
