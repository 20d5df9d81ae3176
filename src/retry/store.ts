import type { CircuitState } from '../core/events.ts'

/** What one process has seen of a dependency. Reporting it twice changes nothing. Times are ages in ms, not instants. */
export interface CircuitSight {
  /** `none`: the process made no call in the last 10 s. `works`: calls succeed. `open`: its own failures opened the circuit. */
  readonly vote: 'none' | 'works' | 'open'
  /** The number of different messages that failed for the first time since the last answer. */
  readonly bad: number
  /** Ms since the first of those failures. */
  readonly badAgeMs: number | null
  readonly answerAgeMs: number | null
}

/** The state of a circuit in the fleet. The highest epoch wins. */
export interface CircuitRegister {
  readonly state: CircuitState
  /** The number of this state: the store's clock in µs, and always above the one before. It stays unique if the store loses its data. */
  readonly epoch: number
  /** Ms until the next probe window, or until the probe's lease ends. */
  readonly leftMs: number
}

export interface CircuitExchange {
  readonly do: 'report' | 'ask' | 'settle'
  /** The result of the probe if `do` is `settle`. `nothing`: the next call may probe at once. */
  readonly result?: 'answered' | 'failed' | 'nothing'
  /** The process. */
  readonly owner: string
  /** The state that this process knows. A store that lost its data adopts it if its epoch is higher. */
  readonly known: CircuitRegister
  readonly sight: CircuitSight
  readonly rules: {
    readonly openAfter: number
    readonly openMs: number
    readonly maxOpenMs: number
    readonly leaseMs: number
  }
}

export interface CircuitAnswer extends CircuitRegister {
  /** True if the asking process may probe in this epoch, until the lease ends. */
  readonly granted: boolean
  /** The process that probes now. */
  readonly prober?: string | null
}

/** One circuit as its store knows it, for operators. */
export interface CircuitLine extends CircuitRegister {
  readonly name: string
  readonly prober: string | null
  /** Processes that reported in the last 10 s. */
  readonly processes: number
  /** Those of them whose own failures opened it. */
  readonly openVotes: number
}

/**
 * Lets processes share the state of their circuits. One call reports what a process saw and returns the state:
 * - Each grant to probe has its own epoch. At most one grant is live, a window has one grant, and only its epoch settles it.
 * - If a probe's lease lapses, its window ends. The next probe waits for the next window.
 * - The circuit opens when half of the processes that called lately are open by themselves; these must be at least two, or
 *   no process may say that the dependency works. It also opens when the failures since the fleet's last answer add up to
 *   `openAfter`.
 * - Epochs never go back.
 */
export interface Circuits {
  /** For events and health. */
  readonly name: string
  /** Interval of reports in ms while a process makes calls. */
  readonly beatMs: number
  exchange(circuit: string, exchange: CircuitExchange): Promise<CircuitAnswer>
  /** The circuits of the store, open ones first. For operators: it may read through the whole store. */
  list?(): Promise<readonly CircuitLine[]>
}

export interface TokenRequest {
  readonly count: number
  readonly perSecond: number
  readonly burst: number
  /** How far ahead a token may be reserved, in ms. */
  readonly aheadMs: number
  /** Tokens earned since the last request. */
  readonly earned: number
}

export interface PlacesRequest {
  /** The process. */
  readonly owner: string
  /** Places in which something runs now. */
  readonly held: number
  /** Places that it could use: those and the messages that wait. With 0 it gives all of them back. */
  readonly want: number
  /** Places of all processes. */
  readonly max: number
  readonly leaseMs: number
}

/** Lets processes share rates, retry budgets and places. In any second they use at most `perSecond` tokens plus the burst. */
export interface Limits {
  /** For events and `describe()`. */
  readonly name: string
  /**
   * Takes up to `count` tokens. The first is valid in `inMs`, each further one a gap later. If no more may be reserved,
   * `taken` is 0 and `inMs` says when to ask again.
   */
  take(this: void, limit: string, request: TokenRequest): Promise<{ readonly taken: number; readonly inMs: number }>
  /**
   * Hands out places of a group under a lease that begins with the request. Resolves to how many this process may use:
   * - Places of all live leases add up to `max` at most. What still runs keeps its place, also beyond the answer.
   * - The answer is max-min fair: a process gets what it wants, or as much as every other that wants more. What cannot be
   *   divided goes round.
   * - The places of a process that died are free once its lease is over.
   */
  hold?(this: void, limit: string, request: PlacesRequest): Promise<number>
  /** Length of that lease in ms. A process renews it five times as often. */
  readonly leaseMs?: number
}
