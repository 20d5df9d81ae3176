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
    onCrash: nothing,
    onPause: nothing,
    onStop: nothing,
  }
}

/** `A`, after a crash `A′`. */
export function nameOf({ name, incarnation }: SimulatedProcess): string {
  return name + '′'.repeat(incarnation - 1)
}
