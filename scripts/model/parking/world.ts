import type { PlantName } from './plants.ts'
import { blocked, copyOf, dead, done, nobody, type Consumer, type Row, type Size, type State } from './state.ts'

/** One thing that may happen. `violation`: the promise that it breaks. */
export interface Step {
  readonly label: string
  readonly next: State
  readonly violation: string | undefined
}

/** What everybody's steps are made of: the statements, each of them one step unless a fault is planted. */
export class World {
  readonly size: Size
  readonly plant: PlantName | undefined
  readonly steps: Step[] = []
  readonly state: State

  constructor(state: State, size: Size, plant: PlantName | undefined) {
    this.state = state
    this.size = size
    this.plant = plant
  }

  get blocks(): boolean {
    return this.size.whenDead === 'block-key'
  }

  /** Adds a step. `does` changes its copy of the state, and says what promise that breaks. */
  may(label: string, does: (next: State) => string | undefined | void): void {
    const next = copyOf(this.state)
    const violation = does(next) ?? undefined
    this.steps.push({ label, next, violation })
  }
}

export function rowOf(state: State, message: number): Row | undefined {
  return state.rows.find((row) => row.message === message)
}

export function headOf({ rows }: State): Row | undefined {
  return rows.reduce<Row | undefined>(
    (first, row) => (first === undefined || row.seq < first.seq ? row : first),
    undefined,
  )
}

export function addRow(state: State, message: number): void {
  const lane = (state.lane ??= { holder: nobody, tail: 0 })
  lane.tail++
  if (rowOf(state, message) === undefined) state.rows.push({ seq: lane.tail, message })
}

export function removeRow(
  state: State,
  { message, seq }: { readonly message: number; readonly seq: number },
  byPlace: boolean,
): void {
  state.rows = state.rows.filter((row) => (byPlace ? row.seq !== seq : row.message !== message))
}

/** The handler's effect, in its transaction. */
export function effect(state: State, message: number, blocks: boolean): string | undefined {
  if (state.effects.includes(message)) return `message ${message} was done twice`
  const isExempt = state.exempt[message] === true
  if (!isExempt && state.effects.some((other) => other > message && state.exempt[other] !== true))
    return `message ${message} was done after a later one`
  if (blocks)
    for (let before = 1; before < message; before++)
      if (state.claims[before] === dead && state.exempt[before] !== true)
        return `message ${message} was done past ${before}, which is dead and blocks`
  state.effects.push(message)
  return undefined
}

/** It failed for good. Under block-key it is parked in the same step, and its lane waits for an operator. */
export function die(state: State, message: number, { blocks, plant }: Pick<World, 'blocks' | 'plant'>): void {
  state.left.deaths--
  state.claims[message] = dead
  if (!blocks || plant === 'dead-not-parked') return
  const isNew = state.lane === undefined
  addRow(state, message)
  if (isNew && state.lane !== undefined) state.lane.holder = blocked
}

export function startOver(consumer: Consumer): void {
  consumer.phase = 'idle'
  consumer.at = 0
}

export const isFinal = (claim: number | undefined): boolean => claim === done || claim === dead
