import { requireCount, requireFunctions } from '../../core/options.ts'
import type { Outgoing } from '../../core/publisher.ts'
import { numberOfKey } from '../number-of-key.ts'

/**
 * Spreads keys over the subjects `<destination>.0` to `<destination>.<n - 1>`: all messages of a key to one of them, those
 * without a key in turn. Another number sends keys to other subjects.
 */
export function bySubject(subjects: number | ((destination: string) => number)): (message: Outgoing) => string {
  if (typeof subjects === 'number') requireCount('bySubject', { subjects })
  else requireFunctions('bySubject', { subjects })
  let turn = 0
  return function bySubject({ destination, key }) {
    const count = typeof subjects === 'number' ? subjects : subjects(destination)
    return `${destination}.${key === null ? turn++ % count : numberOfKey(key, count)}`
  }
}
