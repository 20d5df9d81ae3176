import type { SchemaState } from './store.ts'

/**
 * What stands in the way of operators, if anything. `older`: the tables cannot be read yet. `newer`: they may mean something
 * that this version does not know.
 */
export function schemaTrouble({ applied, missing, newer }: SchemaState): 'none' | 'older' | 'newer' | undefined {
  if (applied.length === 0) return 'none'
  if (missing.some(({ needed }) => needed)) return 'older'
  return newer.length > 0 ? 'newer' : undefined
}
