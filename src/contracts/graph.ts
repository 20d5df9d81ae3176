import { mermaidText } from '../core/mermaid.ts'
import { consumersOf, type Service } from './service.ts'

/** One service tells another one. */
export interface Edge {
  readonly from: string
  readonly to: string
  readonly type: string
}

export function edgesOf(services: readonly Service[]): readonly Edge[] {
  return services.flatMap(({ name: from, publishes }) =>
    publishes.flatMap((contract) =>
      consumersOf(contract, services).map(({ name: to }) => ({ from, to, type: contract.type })),
    ),
  )
}

/** Services that tell each other in a circle: strongly connected components, by Tarjan. */
export function cyclesIn(edges: readonly Edge[]): readonly (readonly string[])[] {
  const next = new Map<string, string[]>()
  for (const { from, to } of edges) next.set(from, [...(next.get(from) ?? []), to])
  const index = new Map<string, number>()
  const stack: string[] = []
  const found: string[][] = []

  function visit(name: string): number {
    const own = index.size
    index.set(name, own)
    stack.push(name)
    let low = own
    for (const to of next.get(name) ?? []) {
      if (!index.has(to)) low = Math.min(low, visit(to))
      else if (stack.includes(to)) low = Math.min(low, index.get(to) ?? low)
    }
    if (low === own) {
      const component = stack.splice(stack.indexOf(name))
      if (component.length > 1 || (next.get(name) ?? []).includes(name)) found.push(component)
    }
    return low
  }

  for (const name of next.keys()) if (!index.has(name)) visit(name)
  return found
}

/** A Mermaid flowchart of who tells whom. */
export function contractGraph(services: readonly Service[]): string {
  const names = services.map(({ name }) => name)
  const node = (name: string): string => `s${names.indexOf(name)}`
  return [
    'flowchart LR',
    ...names.map((name) => `  ${node(name)}["${mermaidText(name)}"]`),
    ...edgesOf(services).map(({ from, to, type }) => `  ${node(from)} -->|"${mermaidText(type)}"| ${node(to)}`),
    '',
  ].join('\n')
}
