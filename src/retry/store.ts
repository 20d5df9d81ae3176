import type { CircuitState } from '../core/events.ts'

/** What one process has seen of a dependency: absolute, so that telling it twice changes nothing. Ages, never instants. */
export interface CircuitSight {
  /** `none`: it did not call in the last 10 s. `open`: it opened by what it saw itself. */
  readonly vote: 'none' | 'works' | 'open'
  /** Different messages that failed for the first time since its last answer. */
  readonly bad: number
  /** How long ago the first of those failed. */
  readonly badAgeMs: number | null
  readonly answerAgeMs: number | null
}

/** The state of a circuit in the fleet. It is a register: the highest epoch wins. */
export interface CircuitRegister {
  readonly state: CircuitState
  /** Unique over a loss of the data too: drawn from the store's clock in µs, and always above the one before. */
  readonly epoch: number
  /** How long until the window is due, or until the probe's lease ends. */
  readonly leftMs: number
}

export interface CircuitExchange {
  readonly do: 'report' | 'ask' | 'settle'
  /** Of the probe, where `do` is `settle`. `nothing`: the next one may probe at once. */
  readonly result?: 'answered' | 'failed' | 'nothing'
  /** The process. */
  readonly owner: string
  /** What it knows. A store that lost its data takes it over where its epoch is higher. */
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
  /** The asking process is the probe of this epoch, until its lease ends. */
  readonly granted: boolean
}

/**
 * Where processes share the state of their circuits. One call tells what a process saw, and answers the state:
 * - A grant has an epoch of its own, at most one is live, and a window has one grant. Only its epoch may settle it.
 * - The lease of a probe that lapses ends its window; the next probe waits for the next one.
 * - It opens when half of the processes that called lately are open by themselves (at least two, or nobody says that it
 *   works), or when their failures since the fleet's last answer add up to `openAfter`.
 * - Epochs never go back.
 */
export interface Circuits {
  /** For events and health. */
  readonly name: string
  /** How often a process reports while it calls. */
  readonly beatMs: number
  exchange(circuit: string, exchange: CircuitExchange): Promise<CircuitAnswer>
}

export interface TokenRequest {
  readonly count: number
  readonly perSecond: number
  readonly burst: number
  /** How far ahead a token may be taken. */
  readonly aheadMs: number
  /** Tokens that were earned since the last request. */
  readonly earned: number
}

/** Where processes share rates and retry budgets: over any second at most `perSecond` plus the burst are used. */
export interface Limits {
  /** For events and `describe()`. */
  readonly name: string
  /**
   * Takes up to `count` tokens. The first is good in `inMs`, each further one a gap later. Where none may be taken any
   * more, `taken` is 0 and `inMs` says when to ask again.
   */
  take(limit: string, request: TokenRequest): Promise<{ readonly taken: number; readonly inMs: number }>
}
