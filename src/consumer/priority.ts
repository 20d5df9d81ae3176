import { badOption } from '../core/options.ts'

/** Which topics of a consumer start first. */
export interface Priority {
  /** Messages of these topics start before those of the others. */
  readonly topics: readonly string[]
  /** The part of all starts that the other topics get while both wait, above 0 and at most 0.5. @defaultValue 0.1 */
  readonly floor?: number
}

/** What the lanes need of it: the floor, and which topics give way. */
export interface Yielding {
  readonly floor: number | undefined
  readonly yields: (topic: string) => boolean
}

export function yielding(where: string, priority: Priority | undefined): Yielding {
  if (priority === undefined) return { floor: undefined, yields: () => false }
  const { topics, floor = 0.1 } = priority
  const given: unknown = topics
  if (!Array.isArray(given) || given.length === 0 || !given.every((topic) => typeof topic === 'string'))
    throw badOption(where, 'priority.topics', 'a list of at least one topic', topics)
  if (!(floor > 0 && floor <= 0.5)) throw badOption(where, 'priority.floor', 'above 0 and at most 0.5', floor)
  const first = new Set(topics)
  return { floor, yields: (topic) => !first.has(topic) }
}
