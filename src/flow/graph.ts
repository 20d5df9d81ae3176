import { subscribe } from '../core/events.ts'
import { mermaidText } from '../core/mermaid.ts'
import { headerText } from '../core/message.ts'
import { checkOptions, count } from '../core/options.ts'
import { flowHeaders } from './headers.ts'

/** One way that messages took: who published a type, and which pipeline settled it. */
export interface FlowEdge {
  /** The `producer` header. `null`: the message has none. */
  readonly from: string | null
  readonly type: string
  readonly to: string
  readonly messages: number
}

export interface FlowGraphOptions {
  /** How many edges are kept. Types and producers are headers, so their number must have a bound. @defaultValue 1,000 */
  readonly maxEdges?: number
}

export interface FlowGraph {
  edges(): readonly FlowEdge[]
  /** Messages on edges beyond `maxEdges`. */
  readonly uncounted: number
  /** The graph as a Mermaid flowchart. */
  toMermaid(): string
  /** Stops counting. */
  stop(): void
}

/** Counts, from now on, which way messages take through the pipelines of this process. */
export function flowGraph(options: FlowGraphOptions = {}): FlowGraph {
  const { maxEdges = 1000 } = checkOptions('flowGraph', options, { maxEdges: count() })
  const edges = new Map<string, FlowEdge>()
  let uncounted = 0
  const stop = subscribe('settled', ({ delivery: { message, pipeline: to } }) => {
    const from = headerText(message.headers, flowHeaders.producer) ?? null
    const { type } = message
    const name = JSON.stringify([from, type, to])
    const known = edges.get(name)
    if (known !== undefined) edges.set(name, { ...known, messages: known.messages + 1 })
    else if (edges.size < maxEdges) edges.set(name, { from, type, to, messages: 1 })
    else uncounted += 1
  })
  return {
    edges: () => [...edges.values()],
    get uncounted() {
      return uncounted
    },
    toMermaid: () => mermaid([...edges.values()]),
    stop,
  }
}

function mermaid(edges: readonly FlowEdge[]): string {
  const names = [...new Set(edges.flatMap(({ from, to }) => [from ?? unknown, to]))].sort()
  const node = (name: string): string => `n${names.indexOf(name)}`
  return [
    'flowchart LR',
    ...names.map((name) => `  ${node(name)}["${mermaidText(name)}"]`),
    ...edges.map(
      ({ from, type, to, messages }) =>
        `  ${node(from ?? unknown)} -->|"${mermaidText(type)} (${messages})"| ${node(to)}`,
    ),
    '',
  ].join('\n')
}

const unknown = 'unknown'
