import type { Clock } from '../../core/clock.ts'

export interface CircuitTerms {
  readonly name: string
  readonly openAfter: number
  readonly looksDown: (error: unknown) => boolean
  readonly openMs: number
  readonly maxOpenMs: number
  readonly probeTimeoutMs: number
  readonly maxRamp: number
  readonly observe: boolean
  readonly clock: Clock
  readonly random: () => number
}

/** One call through a circuit, from its start to its end. */
export interface Call {
  readonly id: string | null
  /** A call that started in an earlier era does not change the state. */
  readonly era: number
  /** How many answers there had been when it began. */
  readonly answers: number
  readonly isProbe: boolean
}

/** What a shared circuit is told, and what it decides. */
export interface Fleet {
  readonly scope: 'process' | 'fleet'
  readonly epoch: number | null
  readonly online: boolean
  readonly prober: string | null
  readonly isProbing: boolean
  /** Takes the right to be the probe; without one it has to be asked for. */
  takeGrant(): boolean
  /** Asks for it. Afterwards the circuit has another state, or another time, or the grant is there. */
  ask(): Promise<void>
  /** Whether a closed circuit must hear from the fleet before it makes a call. */
  readonly mustHear: boolean
  hear(): Promise<void>
  saw(what: 'answer' | 'failure' | 'opened'): void
  settled(result: ProbeResult): void
}

export type ProbeResult = 'answered' | 'failed' | 'nothing' | 'too-late'
