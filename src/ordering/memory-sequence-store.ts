import { warnInProduction } from '../core/production.ts'
import { abortedBy } from '../core/signals.ts'
import type { Age, Mark, SequenceStore } from './store.ts'

/** Keeps marks in this process, for tests and examples. All marks are lost when the process ends. */
export function memorySequenceStore(): SequenceStore {
  warnInProduction('memorySequenceStore')
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
    look: (mark, { signal } = {}) =>
      signal?.aborted === true ? Promise.reject(abortedBy(signal)) : Promise.resolve(ageOf(mark)),
    advance(mark, { signal } = {}) {
      if (signal?.aborted === true) return Promise.reject(abortedBy(signal))
      const age = ageOf(mark)
      if (age === 'newer') marks.set(nameOf(mark), mark)
      return Promise.resolve(age)
    },
  }
}
