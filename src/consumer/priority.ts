import { badOption, checkOptions, list, number, required, type Kinds } from '../core/options.ts'

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

/** The priority of a transport whose sources are no topics, and which knows all of them. */
export function priorityOf<Name extends 'queues' | 'partitions'>(
  where: string,
  priority: (Readonly<Record<Name, readonly string[]>> & { readonly floor?: number }) | undefined,
  name: Name,
  known: readonly string[],
): Priority | undefined {
  if (priority === undefined) return undefined
  const kinds = { [name]: required(list), floor: number(Number.MIN_VALUE) }
  const { floor = 0.1 } = checkOptions(`${where}: priority`, priority, kinds as Kinds<typeof priority>)
  const topics = priority[name]
  if (topics.length === 0) throw badOption(`${where}: priority`, name, 'a list of at least one name', topics)
  for (const [at, topic] of topics.entries())
    if (!known.includes(topic))
      throw badOption(`${where}: priority`, `${name}[${at}]`, `one of its ${name}: ${known.join(', ')}`, topic)
  if (floor > 0.5) throw badOption(`${where}: priority`, 'floor', 'above 0 and at most 0.5', floor)
  return { topics, floor }
}
