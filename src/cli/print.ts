import type { Context } from './command.ts'
import { table } from './terminal.ts'

export type Column<Row> = readonly [name: string, text: (row: Row) => string | number | null]

/** Rows for a person, or as lines of JSON: one object a line, nothing for none. */
export function print<Row>(context: Context, rows: readonly Row[], columns: readonly Column<Row>[]): void {
  const { around, json } = context
  if (json) {
    for (const row of rows) around.out(`${jsonLine(row)}\n`)
    return
  }
  if (rows.length === 0) {
    around.out('none\n')
    return
  }
  const cells = rows.map((row) => columns.map(([, text]) => String(text(row) ?? '')))
  around.out(
    `${table(
      columns.map(([name]) => name),
      cells,
      around.columns,
    )}\n`,
  )
}

/** One result: a line for a person, or an object. */
export function say(context: Context, text: string, result: unknown): void {
  context.around.out(context.json ? `${jsonLine(result)}\n` : `${text}\n`)
}

/** JSON escapes control characters, but not those that turn the direction of text or have no width. */
export function jsonLine(value: unknown): string {
  // By the holder: a Buffer is no bytes any more once it was asked for its JSON.
  const text = JSON.stringify(value, function (this: Readonly<Record<string, unknown>>, name, each: unknown) {
    const raw = this[name]
    if (raw instanceof Uint8Array) return { base64: Buffer.from(raw).toString('base64') }
    return typeof each === 'bigint' ? String(each) : each
  })
  return text.replace(unseen, (found) =>
    Array.from({ length: found.length }, (_, at) => `\\u${found.charCodeAt(at).toString(16).padStart(4, '0')}`).join(
      '',
    ),
  )
}

const unseen =
  /[\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufe00-\ufe0f\ufeff\ufff9-\ufffb\u{e0000}-\u{e0fff}]/gu

/** Again and again until it is interrupted, where `--watch` is given. */
export async function watching(context: Context, show: () => Promise<number>): Promise<number> {
  const { around, values, json } = context
  if (values['watch'] !== true) return show()
  let exit = 0
  while (!around.signal.aborted) {
    if (!json) around.out('\u001b[H\u001b[2J')
    exit = await show()
    await new Promise<void>((resolve) => {
      const timer = setTimeout(resolve, 2000)
      around.signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true })
    })
  }
  return exit
}
