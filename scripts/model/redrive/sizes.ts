import type { Budget } from './state.ts'

/** How often each trouble happens. The small size runs with every test, the full one on demand. */
export const sizes: Readonly<Record<'small' | 'full', Budget>> = {
  small: { crashes: 1, lapses: 1, redeliveries: 1, redrives: 1, drops: 1, edits: 0, cleanUps: 0, reopens: 1 },
  full: { crashes: 1, lapses: 1, redeliveries: 1, redrives: 2, drops: 1, edits: 1, cleanUps: 1, reopens: 1 },
}
