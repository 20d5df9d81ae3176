import { copyOf, type State } from './state.ts'

/** One step of somebody. `needs`: it happens by itself; others are trouble, or an operator. */
export interface Step {
  readonly label: string
  readonly next: State
  readonly byItself: boolean
}

export type Steps = Step[]

/** Adds what the state becomes by one atomic act: a statement, a send, a crash. */
export function by(steps: Steps, state: State, label: string, act: (next: State) => void): void {
  const next = copyOf(state)
  act(next)
  steps.push({ label, next, byItself: true })
}

/** The same for what happens only as often as the budget says. */
export function rarely(
  steps: Steps,
  state: State,
  what: keyof State['left'],
  label: string,
  act: (next: State) => void,
): void {
  if (state.left[what] === 0) return
  const next = copyOf(state)
  next.left[what]--
  act(next)
  steps.push({ label, next, byItself: false })
}
