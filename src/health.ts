/** How one part is doing, as data. */
export interface Health {
  readonly name: string
  /** False: nothing but a restart helps. */
  readonly live: boolean
  /** False: it cannot do its work now. */
  readonly ready: boolean
  readonly details: Readonly<Record<string, unknown>>
}

/** What has health to tell: a consumer, a breaker, a relay, a store. */
export interface HasHealth {
  health(): Health
}

export interface OverallHealth {
  readonly live: boolean
  readonly ready: boolean
  readonly parts: readonly Health[]
}

/** Sums up for a liveness and a readiness probe: live while every part is, ready while every part is. */
export function health(...parts: readonly HasHealth[]): OverallHealth {
  const each = parts.map((part) => part.health())
  return { live: each.every(({ live }) => live), ready: each.every(({ ready }) => ready), parts: each }
}
