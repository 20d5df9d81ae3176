/**
 * What a message brings may move the cursor, set the title or write to the clipboard: only what prints reaches a terminal.
 * Control, bidirectional and zero-width characters are written out, halves of surrogate pairs are replaced.
 */
export function printable(text: string): string {
  return text
    .toWellFormed()
    .replace(hidden, (found) =>
      found === '\n' ? '⏎' : `\\x${(found.codePointAt(0) ?? 0).toString(16).padStart(2, '0')}`,
    )
}

const hidden =
  /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e0fff}]/gu

/** The same for text of several lines, such as a body or an SQL statement that is ours. */
export function printableLines(text: string): string {
  return text.split('\n').map(printable).join('\n')
}

const wide =
  /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6]|\p{Extended_Pictographic}/u
const segmenter = new Intl.Segmenter()

/** Columns of a terminal, by grapheme. */
export function width(text: string): number {
  let columns = 0
  for (const { segment } of segmenter.segment(text)) columns += wide.test(segment) ? 2 : 1
  return columns
}

function fitted(text: string, columns: number): string {
  const all = width(text)
  if (all <= columns) return text + ' '.repeat(columns - all)
  let [shown, used] = ['', 0]
  for (const { segment } of segmenter.segment(text)) {
    const more = wide.test(segment) ? 2 : 1
    if (used + more > columns - 1) break
    shown += segment
    used += more
  }
  return `${shown}…${' '.repeat(columns - used - 1)}`
}

const widest = 60
const narrowest = 8

/** Rows as columns that fit the terminal; the widest column gives way first. */
export function table(names: readonly string[], rows: readonly (readonly string[])[], columns: number): string {
  const cells = [names, ...rows.map((row) => row.map(printable))]
  // The last column, which is the error in most tables, takes the room that the others leave.
  const widths = names.map((_, at) => {
    const wanted = Math.max(...cells.map((row) => width(row[at] ?? '')))
    return at === names.length - 1 ? Math.min(columns, wanted) : Math.min(widest, wanted)
  })
  for (let over = widths.reduce((sum, each) => sum + each + 2, -2) - columns; over > 0; over--) {
    const most = widths.indexOf(Math.max(...widths))
    const now = widths[most] ?? 0
    if (now <= narrowest) break
    widths[most] = now - 1
  }
  return cells
    .map((row) =>
      row
        .map((text, at) => fitted(text, widths[at] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n')
}

/** With the date: what is read at night may be of yesterday. */
export function instant(ms: number | null): string {
  if (ms === null) return ''
  const date = new Date(ms)
  return Number.isNaN(date.getTime()) ? '' : date.toISOString().replace('T', ' ').slice(0, 19)
}

export function duration(ms: number): string {
  for (const [unit, size] of [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['min', 60_000],
    ['s', 1000],
  ] as const)
    if (ms >= size) return `${Math.round((ms / size) * 10) / 10} ${unit}`
  return `${Math.round(ms)} ms`
}
