import { callback, checkOptions } from '../core/options.ts'
import { edgesOf, type Edge } from './graph.ts'
import type { Service } from './service.ts'

/** A way that messages took, as `flowGraph()` of `holdfast/flow` counts it. */
export interface SeenEdge {
  /** `null`: the messages have no `producer` header. */
  readonly from: string | null
  readonly type: string
  readonly to: string
  readonly messages: number
}

/** A difference between what services say of themselves and what their messages did. */
export interface Drift {
  /** `not-declared`: messages took this way, and no contract says so. `not-seen`: a contract says so, and none took it. */
  readonly rule: 'not-declared' | 'not-seen'
  readonly from: string | null
  readonly type: string
  readonly to: string
  readonly messages: number
}

export interface DriftOptions {
  /** The service that a pipeline, or a `producer` header, belongs to. @defaultValue the name without what follows an `@` */
  readonly serviceOf?: (name: string) => string
}

/**
 * Compares the contracts with traffic. Give it the edges of all processes that you know of: `not-seen` looks only at services
 * that handled something in them.
 * @throws HoldfastError (`bad-option`)
 */
export function contractDrift(
  services: readonly Service[],
  seen: readonly SeenEdge[],
  options: DriftOptions = {},
): readonly Drift[] {
  const { serviceOf = beforeVersion } = checkOptions('contractDrift', options, { serviceOf: callback })
  const ways = new Map<string, SeenEdge>()
  for (const edge of seen) {
    const way = { ...edge, from: edge.from === null ? null : serviceOf(edge.from), to: serviceOf(edge.to) }
    const messages = (ways.get(nameOf(way))?.messages ?? 0) + edge.messages
    ways.set(nameOf(way), { ...way, messages })
  }
  const declared = new Set(namesOf(services))
  const handling = new Set([...ways.values()].map(({ to }) => to))
  return [
    ...[...ways.values()]
      .filter((way) => !declared.has(nameOf(way)))
      .map(({ from, type, to, messages }): Drift => ({ rule: 'not-declared', from, type, to, messages })),
    ...edgesOf(services)
      .filter((edge) => handling.has(edge.to) && !hasTaken(edge, ways))
      .map((edge): Drift => ({ rule: 'not-seen', ...edge, messages: 0 })),
  ]
}

function beforeVersion(name: string): string {
  return name.split('@', 1)[0] ?? name
}

function nameOf({ from, type, to }: Pick<SeenEdge, 'from' | 'type' | 'to'>): string {
  return JSON.stringify([from, type, to])
}

/** Every way that is declared. Of a message without a producer only who handles it is known. */
function namesOf(services: readonly Service[]): readonly string[] {
  return [
    ...edgesOf(services).map(nameOf),
    ...services.flatMap(({ name: to, consumes }) =>
      consumes.map(({ contract: { type } }) => nameOf({ from: null, type, to })),
    ),
  ]
}

function hasTaken(edge: Edge, ways: ReadonlyMap<string, SeenEdge>): boolean {
  return ways.has(nameOf(edge)) || ways.has(nameOf({ ...edge, from: null }))
}
