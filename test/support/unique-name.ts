import { randomBytes } from 'node:crypto'

/** A name that nobody else uses; fits topics, groups, key prefixes and SQL identifiers. */
export function uniqueName(prefix: string): string {
  return `${prefix}_${randomBytes(6).toString('hex')}`
}
