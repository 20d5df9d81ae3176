import { endViolationOf, isCompletedButDead, violationOf } from './invariants.ts'
import type { Rules } from './plants.ts'
import { firstState, keyOf, type Budget, type State } from './state.ts'
import { stepsFrom } from './world.ts'

export interface Explored {
  readonly states: number
  /** Whether every state was seen. */
  readonly whole: boolean
  readonly completedButDead: number
  /** What was violated first, with the steps that lead there. */
  readonly violation: { readonly what: string; readonly steps: readonly string[] } | undefined
}

/** Breadth first, so that the first violation is a shortest one. */
export function explore(rules: Rules, budget: Budget, mostStates = Infinity): Explored {
  const first = firstState(budget)
  const numbers = new Map([[keyOf(first), 0]])
  const from: number[] = [0]
  const labels: string[] = ['']
  let frontier: (readonly [State, number])[] = [[first, 0]]
  let completedButDead = 0
  const result = (whole: boolean, what?: string, at = 0): Explored => {
    const violation = what === undefined ? undefined : { what, steps: stepsTo(at, from, labels) }
    return { states: numbers.size, whole, completedButDead, violation }
  }
  while (frontier.length > 0) {
    const following: (readonly [State, number])[] = []
    for (const [state, number] of frontier) {
      let ended = true
      for (const { label, next, byItself } of stepsFrom(state, rules)) {
        if (byItself) ended = false
        const text = keyOf(next)
        if (numbers.has(text)) continue
        const own = numbers.size
        numbers.set(text, own)
        from.push(number)
        labels.push(label)
        const what = violationOf(next)
        if (what !== undefined) return result(false, what, own)
        following.push([next, own])
      }
      if (!ended) continue
      const what = endViolationOf(state)
      if (what !== undefined) return result(false, what, number)
      if (isCompletedButDead(state)) completedButDead++
    }
    if (numbers.size > mostStates) return result(false)
    frontier = following
  }
  return result(true)
}

function stepsTo(at: number, from: readonly number[], labels: readonly string[]): readonly string[] {
  const steps: string[] = []
  for (let each = at; each !== 0; each = from[each] ?? 0) steps.unshift(labels[each] ?? '')
  return steps
}
