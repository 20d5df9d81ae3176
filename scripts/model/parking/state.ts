/** Who holds a claim or a lane. Positive: a process. */
export const nobody = 0
/** What is remembered of a key that is settled. */
export const done = 100
export const dead = 101
/** A lane that waits for an operator. */
export const blocked = 100

export type ConsumerPhase =
  'idle' | 'ready' | 'append' | 'append-late' | 'running' | 'parking' | 'parking-late' | 'burying'
export type WorkerPhase = 'idle' | 'load' | 'claim' | 'running' | 'burying' | 'removing' | 'freeing'

export interface Consumer {
  phase: ConsumerPhase
  /** The offset of its message. */
  at: number
  /** What it believes: a hint, and no more. */
  believesParked: boolean
}

export interface Worker {
  phase: WorkerPhase
  message: number
  /** The place of the message, and the tail, as they were read. */
  seq: number
  tail: number
}

export interface Row {
  readonly seq: number
  readonly message: number
}

/** One key: its log, its claims, its lane, and everybody who works on it. */
export interface State {
  owner: number
  committed: number
  /** By message: nobody, a process, done or dead. */
  readonly claims: number[]
  /** By message: an operator gave it a newer generation. */
  readonly permitted: boolean[]
  /** By message: its dead letter is confirmed. */
  readonly letters: boolean[]
  /** By message: an operator dropped it, or sent it again from a letter: its order is not promised any more. */
  readonly exempt: boolean[]
  /** Messages in the order of their effects. */
  readonly effects: number[]
  lane: { holder: number; tail: number } | undefined
  rows: Row[]
  readonly consumers: Consumer[]
  readonly workers: Worker[]
  /** What may still happen. */
  readonly left: { waits: number; deaths: number; acts: number; cleanups: number; crashes: number }
}

export interface Size {
  /** The messages of the log, in the order of their offsets; one that stands twice is a producer's duplicate. */
  readonly log: readonly number[]
  readonly consumers: number
  readonly workers: number
  readonly waits: number
  readonly deaths: number
  readonly acts: number
  readonly cleanups: number
  readonly crashes: number
  readonly whenDead: 'continue' | 'block-key'
}

export function firstState(size: Size): State {
  const messages = Math.max(...size.log)
  const all = <Value>(value: Value): Value[] => Array.from({ length: messages + 1 }, () => value)
  return {
    owner: 0,
    committed: 0,
    claims: all(nobody),
    permitted: all(false),
    letters: all(false),
    exempt: all(false),
    effects: [],
    lane: undefined,
    rows: [],
    consumers: Array.from({ length: size.consumers }, () => ({ phase: 'idle', at: 0, believesParked: false })),
    workers: Array.from({ length: size.workers }, () => ({ phase: 'idle', message: 0, seq: 0, tail: 0 })),
    left: { waits: size.waits, deaths: size.deaths, acts: size.acts, cleanups: size.cleanups, crashes: size.crashes },
  }
}

export function copyOf(state: State): State {
  return {
    ...state,
    claims: [...state.claims],
    permitted: [...state.permitted],
    letters: [...state.letters],
    exempt: [...state.exempt],
    effects: [...state.effects],
    lane: state.lane === undefined ? undefined : { ...state.lane },
    rows: [...state.rows],
    consumers: state.consumers.map((each) => ({ ...each })),
    workers: state.workers.map((each) => ({ ...each })),
    left: { ...state.left },
  }
}

const consumerPhases: readonly ConsumerPhase[] = [
  'idle',
  'ready',
  'append',
  'append-late',
  'running',
  'parking',
  'parking-late',
  'burying',
]
const workerPhases: readonly WorkerPhase[] = ['idle', 'load', 'claim', 'running', 'burying', 'removing', 'freeing']

/** The same text for the same state. */
export function keyOf(state: State): string {
  const { left, lane } = state
  const flags = (all: readonly boolean[]): number => all.reduce((sum, each, at) => sum + (each ? 2 ** at : 0), 0)
  return String.fromCharCode(
    state.owner,
    state.committed,
    flags(state.permitted),
    flags(state.letters),
    flags(state.exempt),
    ...state.claims,
    state.effects.length,
    ...state.effects,
    lane === undefined ? 0 : 1 + lane.holder,
    lane?.tail ?? 0,
    state.rows.length,
    ...state.rows.flatMap(({ seq, message }) => [seq, message]),
    ...state.consumers.flatMap(({ phase, at, believesParked }) => [
      consumerPhases.indexOf(phase),
      at,
      Number(believesParked),
    ]),
    ...state.workers.flatMap(({ phase, message, seq, tail }) => [workerPhases.indexOf(phase), message, seq, tail]),
    left.waits,
    left.deaths,
    left.acts,
    left.cleanups,
    left.crashes,
  )
}
