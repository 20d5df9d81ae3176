import { schemaTrouble } from '../operations/schema.ts'
import type { OperatorStore } from '../operations/store.ts'
import { exits, Stop } from './exit.ts'
import { printable } from './terminal.ts'

/** What another version made may mean something else: nothing is changed there. */
export async function requireOwnSchema(store: OperatorStore, schema: string): Promise<void> {
  const state = await store.schema()
  const trouble = schemaTrouble(state)
  const names = (steps: readonly { readonly name: string }[]): string =>
    steps.map(({ name }) => printable(name)).join(', ')
  if (trouble === 'newer')
    throw new Stop(
      exits.schema,
      `nothing was done: the schema ${schema} is newer than this version (${names(state.newer)}): update the package holdfast here`,
    )
  if (trouble === 'older')
    throw new Stop(
      exits.schema,
      `nothing was done: the schema ${schema} lacks ${names(state.missing.filter(({ needed }) => needed))}: holdfast migrate apply`,
    )
}
