/** One column of a row whose type the driver does not tell. Statements cast what they return to text, int or float8. */
export function field(row: unknown, name: string): unknown {
  return typeof row === 'object' && row !== null ? Reflect.get(row, name) : undefined
}

export function textField(row: unknown, name: string): string | null {
  const value = field(row, name)
  return typeof value === 'string' ? value : null
}

export function numberField(row: unknown, name: string): number {
  return Number(field(row, name))
}
