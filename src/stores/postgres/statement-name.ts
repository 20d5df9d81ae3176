import { createHash } from 'node:crypto'

const names = new Map<string, string>()

/** The name of a prepared statement, the same in every copy of this library: a connection has one text for a name. */
export function statementName(text: string): string {
  const known = names.get(text)
  if (known !== undefined) return known
  const name = `holdfast_${createHash('sha256').update(text).digest('hex').slice(0, 32)}`
  names.set(text, name)
  return name
}
