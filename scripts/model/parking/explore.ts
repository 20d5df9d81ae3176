import { consumerSteps } from './consumer.ts'
import { operatorSteps } from './operator.ts'
import type { PlantName } from './plants.ts'
import { dead, done, firstState, keyOf, type Size, type State } from './state.ts'
import { World, type Step } from './world.ts'
import { workerSteps } from './worker.ts'

export interface Explored {
  readonly states: number
  readonly whole: boolean
  readonly ends: number
  readonly violation: { readonly what: string; readonly steps: readonly string[] } | undefined
}

/** All that may happen next. */
export function stepsFrom(state: State, size: Size, plant: PlantName | undefined): readonly Step[] {
  const world = new World(state, size, plant)
  for (let index = 0; index < size.consumers; index++) consumerSteps(world, index)
  for (let index = 0; index < size.workers; index++) workerSteps(world, index)
  operatorSteps(world)
  return world.steps
}

/** Everything is read, nothing is parked, and each message is done once, or dead with its letter, or dropped. */
function isGoal(state: State, { log }: Size): boolean {
  if (state.committed !== log.length || state.lane !== undefined || state.rows.length > 0) return false
  return state.claims.every((claim, message) => {
    if (message === 0) return true
    if (state.effects.includes(message)) return true
    if (claim === dead) return state.letters[message] === true
    return claim !== done && state.exempt[message] === true
  })
}

/**
 * Breadth first, so that the first violation is a shortest one. Afterwards it asks of every state whether everything can
 * still come to a good end: a message that is lost, and a key that is stuck, are states from which it cannot.
 */
export function explore(size: Size, plant: PlantName | undefined, mostStates = Infinity): Explored {
  const first = firstState(size)
  const numbers = new Map([[keyOf(first), 0]])
  const states: State[] = [first]
  const from: number[] = [0]
  const labels: string[] = ['']
  const edges: number[] = []
  const goals: number[] = []
  const result = (whole: boolean, what?: string, at = 0, last?: string): Explored => {
    const violation = what === undefined ? undefined : { what, steps: stepsTo(at, from, labels, last) }
    return { states: numbers.size, whole, ends: goals.length, violation }
  }
  for (let number = 0; number < states.length; number++) {
    const state = states[number]
    if (state === undefined) break
    if (isGoal(state, size)) goals.push(number)
    for (const { label, next, violation } of stepsFrom(state, size, plant)) {
      if (violation !== undefined) return result(false, violation, number, label)
      const key = keyOf(next)
      let known = numbers.get(key)
      if (known === undefined) {
        known = states.length
        numbers.set(key, known)
        states.push(next)
        from.push(number)
        labels.push(label)
      }
      edges.push(number, known)
    }
    if (states.length > mostStates) return result(false)
  }
  const stuck = firstWithoutGoal(states.length, edges, goals)
  return stuck === undefined
    ? result(true)
    : result(true, 'no good end can be reached: a message is lost, or its key is stuck', stuck)
}

/** Backwards from the goals: a state that is not met can never come to one. */
function firstWithoutGoal(count: number, edges: readonly number[], goals: readonly number[]): number | undefined {
  const starts = new Uint32Array(count + 1)
  for (let at = 1; at < edges.length; at += 2) starts[(edges[at] ?? 0) + 1] = (starts[(edges[at] ?? 0) + 1] ?? 0) + 1
  for (let at = 0; at < count; at++) starts[at + 1] = (starts[at + 1] ?? 0) + (starts[at] ?? 0)
  const fill = starts.slice()
  const back = new Uint32Array(edges.length / 2)
  for (let at = 0; at < edges.length; at += 2) {
    const to = edges[at + 1] ?? 0
    back[fill[to] ?? 0] = edges[at] ?? 0
    fill[to] = (fill[to] ?? 0) + 1
  }
  const met = new Uint8Array(count)
  const line = [...goals]
  for (const goal of goals) met[goal] = 1
  for (let state = line.pop(); state !== undefined; state = line.pop())
    for (let at = starts[state] ?? 0; at < (starts[state + 1] ?? 0); at++) {
      const before = back[at] ?? 0
      if (met[before] === 1) continue
      met[before] = 1
      line.push(before)
    }
  const stuck = met.indexOf(0)
  return stuck === -1 ? undefined : stuck
}

function stepsTo(
  at: number,
  from: readonly number[],
  labels: readonly string[],
  last: string | undefined,
): readonly string[] {
  const steps: string[] = last === undefined ? [] : [last]
  for (let each = at; each !== 0; each = from[each] ?? 0) steps.unshift(labels[each] ?? '')
  return steps
}
