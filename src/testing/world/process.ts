/** One simulated process. What it had in memory is gone after a crash: everything of it is made anew then. */
export interface SimulatedProcess {
  readonly name: string
  /** How often it was started. */
  incarnation: number
  state: 'up' | 'paused' | 'over'
  /** How far its wall clock is off. */
  skewMs: number
  /** Whether it ever stood still: then it may have outlived its leases without any fault of its code. */
  wasPaused: boolean
  /** What is torn down with the process, such as real connections. */
  readonly resources: Set<() => void>
  onCrash: () => void
  onPause: () => void
  onStop: () => void
}

export function simulatedProcess(name: string): SimulatedProcess {
  const nothing = (): void => {}
  return {
    name,
    incarnation: 1,
    state: 'up',
    skewMs: 0,
    wasPaused: false,
    resources: new Set(),
    onCrash: nothing,
    onPause: nothing,
    onStop: nothing,
  }
}

/** `A`, after a crash `A′`. */
export function nameOf({ name, incarnation }: SimulatedProcess): string {
  return name + '′'.repeat(incarnation - 1)
}

/** Whether it still is the same incarnation, and not over. */
export function isAlive(process: SimulatedProcess, incarnation: number): boolean {
  return process.incarnation === incarnation && process.state !== 'over'
}
