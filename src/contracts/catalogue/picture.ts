import { html, type Html } from '../../dashboard/html.ts'
import { edgesOf, type Edge } from '../graph.ts'
import type { Service } from '../service.ts'

const boxWidth = 150
const boxHeight = 34
const columnWidth = 330
const rowHeight = 84
const margin = 12

interface Place {
  readonly x: number
  readonly y: number
}

/** Who tells whom, as a picture: services in columns by their distance from those that nobody tells anything. */
export function picture(services: readonly Service[]): Html {
  const edges = edgesOf(services)
  const columns = columnsOf(services, edges)
  const tallest = Math.max(...columns.map((names) => names.length))
  const height = tallest * rowHeight
  const places = new Map(
    columns.flatMap((names, column) =>
      names.map((name, row) => [name, placeOf(column, row, height / names.length)] as const),
    ),
  )
  const width = columns.length * columnWidth - (columnWidth - boxWidth) + 2 * margin
  return html`<svg
    viewBox="0 0 ${width} ${height}"
    style="max-width:${width}px"
    role="img"
    aria-label="Which service tells which"
  >
    <defs>
      <marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">
        <path d="M0 0L8 4L0 8z" />
      </marker>
    </defs>
    ${[...grouped(edges)].map(([pair, types]) => arrow(pair, types, places))}
    ${[...places].map(([name, { x, y }]) => html`<rect x="${x}" y="${y - boxHeight / 2}" width="${boxWidth}" height="${boxHeight}" rx="6" /><text class="name" x="${x + boxWidth / 2}" y="${y + 5}">${short(name, 20)}</text>`)}
  </svg>`
}

function placeOf(column: number, row: number, step: number): Place {
  return { x: margin + column * columnWidth, y: Math.round((row + 0.5) * step) }
}

/** Begins with the services that nobody tells anything; where all are in a circle, with the first one that is not placed. */
function columnsOf(services: readonly Service[], edges: readonly Edge[]): readonly (readonly string[])[] {
  const names = services.map(({ name }) => name)
  const told = new Set(edges.filter(({ from, to }) => from !== to).map(({ to }) => to))
  const placed = new Set<string>()
  const columns: string[][] = []
  function place(first: readonly string[]): void {
    let next = first
    for (let column = 0; next.length > 0; column++) {
      for (const name of next) placed.add(name)
      columns[column] = [...(columns[column] ?? []), ...next]
      const here = new Set(next)
      next = names.filter((name) => !placed.has(name) && edges.some(({ from, to }) => here.has(from) && to === name))
    }
  }
  place(names.filter((name) => !told.has(name)))
  for (const name of names) if (!placed.has(name)) place([name])
  return columns
}

function grouped(edges: readonly Edge[]): ReadonlyMap<Edge, readonly string[]> {
  const pairs = new Map<string, { readonly edge: Edge; readonly types: string[] }>()
  for (const edge of edges) {
    const name = JSON.stringify([edge.from, edge.to])
    const pair = pairs.get(name) ?? { edge, types: [] }
    pairs.set(name, pair)
    pair.types.push(edge.type)
  }
  return new Map([...pairs.values()].map(({ edge, types }) => [edge, types]))
}

/** Bows out below where it goes back, or passes a column: else it would run behind the boxes in between. */
function arrow({ from, to }: Edge, types: readonly string[], places: ReadonlyMap<string, Place>): Html | false {
  const [start, end] = [places.get(from), places.get(to)]
  if (start === undefined || end === undefined) return false
  const next = end.x - start.x === columnWidth
  const [x1, x2] = next ? [start.x + boxWidth, end.x] : [start.x + boxWidth / 2, end.x + boxWidth / 2]
  const [y1, y2] = next ? [start.y, end.y] : [start.y + boxHeight / 2, end.y + boxHeight / 2]
  const bow = next ? 0 : 44
  // Two that cross have their names apart.
  const share = next ? 0.5 : 0.3
  const path = next
    ? `M${x1} ${y1}C${x1 + 70} ${y1} ${x2 - 70} ${y2} ${x2} ${y2}`
    : `M${x1} ${y1}C${x1} ${y1 + bow} ${x2} ${y2 + bow} ${x2} ${y2}`
  const label =
    types.length === 1 ? short(types[0] ?? '', 26) : `${short(types[0] ?? '', 20)} and ${types.length - 1} more`
  return html`<path class="edge" d="${path}" marker-end="url(#tip)" /><text
      x="${Math.round(x1 + (x2 - x1) * share)}"
      y="${Math.round(y1 + (y2 - y1) * share + bow * 0.7 - 6)}"
      >${label}<title>${types.join(', ')}</title></text
    >`
}

function short(text: string, longest: number): string {
  return text.length <= longest ? text : `${text.slice(0, longest - 1)}…`
}
