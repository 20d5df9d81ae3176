import type { Age, Mark, SequenceStore } from './store.ts'

/** Marks of one process, for tests and examples: it forgets everything at the end. */
export function memorySequenceStore(): SequenceStore {
  const marks = new Map<string, Mark>()
  const nameOf = ({ scope, destination, source, key }: Mark): string =>
    JSON.stringify([scope, destination, source, key])

  function ageOf(mark: Mark): Age {
    const known = marks.get(nameOf(mark))
    if (known === undefined) return 'newer'
    if (known.timeline === mark.timeline && known.id === mark.id) return 'same'
    return known.timeline < mark.timeline || (known.timeline === mark.timeline && known.id < mark.id)
      ? 'newer'
      : 'stale'
  }

  return {
    name: 'memory',
    look: (mark) => Promise.resolve(ageOf(mark)),
    advance(mark) {
      const age = ageOf(mark)
      if (age === 'newer') marks.set(nameOf(mark), mark)
      return Promise.resolve(age)
    },
  }
}
