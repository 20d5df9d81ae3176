import type { Size } from './state.ts'

const base = {
  consumers: 2,
  workers: 1,
  waits: 1,
  deaths: 0,
  acts: 0,
  cleanups: 0,
  crashes: 1,
  whenDead: 'continue',
} as const

/** How much may happen. Small ones run with the tests; all of them with `npm run model:parking`. */
export const sizes: Readonly<Record<'small' | 'continue' | 'block' | 'letters', Size>> = {
  small: { ...base, log: [1, 2] },
  /** Waits, deaths, a producer's duplicate, crashes of everybody. */
  continue: { ...base, log: [1, 2, 1], waits: 2, deaths: 1, workers: 2 },
  /** A dead head blocks; an operator sends it again, or drops it. */
  block: { ...base, log: [1, 2], whenDead: 'block-key', deaths: 2, acts: 2, workers: 2 },
  /** Letters that join the lane of a living key, and records that are cleaned up. */
  letters: { ...base, log: [1, 2, 3], deaths: 1, acts: 1, cleanups: 1 },
}
