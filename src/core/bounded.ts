/** What keeps its members in the order in which they came: a Map or a Set. */
interface Kept<Name> {
  readonly size: number
  keys(): Iterable<Name>
  delete(name: Name): boolean
}

/** Forgets the oldest one where there are more than `most`: called after each that is added. */
export function keepAtMost<Name extends string | number>(most: number, kept: Kept<Name>): void {
  const [oldest] = kept.keys()
  if (kept.size > most && oldest !== undefined) kept.delete(oldest)
}
