/** A property of something that is not known to be an object. */
export function field(of: unknown, name: string): unknown {
  return typeof of === 'object' && of !== null ? Reflect.get(of, name) : undefined
}

/**
 * One column of a row whose type the driver does not tell. Statements cast what they return to text, int or float8, but a
 * service may have parsers of its own, and some clients rename columns on their way (`wait_ms` to `waitMs` or `WaitMs`).
 */
function column(row: unknown, name: string): unknown {
  const value = field(row, name)
  if (value !== undefined || typeof row !== 'object' || row === null) return value
  const plain = plainName(name)
  const renamed = Object.keys(row).find((each) => plainName(each) === plain)
  return renamed === undefined ? undefined : Reflect.get(row, renamed)
}

function plainName(name: string): string {
  return name.replaceAll(/[_\s-]/g, '').toLowerCase()
}

/** A text, or a number that a parser of the service has made of one. */
export function textField(row: unknown, name: string): string | null {
  const value = column(row, name)
  if (typeof value === 'number' || typeof value === 'bigint') return String(value)
  return typeof value === 'string' ? value : null
}

export function numberField(row: unknown, name: string): number {
  return Number(column(row, name))
}

/** A boolean, or what PostgreSQL writes for one where no parser reads it. */
export function flagField(row: unknown, name: string): boolean {
  const value = column(row, name)
  return value === true || value === 't' || value === 'true'
}

/** For rows that name by `n` what they changed: `ok` for each of those that is named, `lost` for the others. */
export function heldBy(rows: readonly unknown[], asked: readonly unknown[]): readonly ('ok' | 'lost')[] {
  const changed = new Set(rows.map((row) => numberField(row, 'n')))
  return asked.map((_, n) => (changed.has(n) ? 'ok' : 'lost'))
}
