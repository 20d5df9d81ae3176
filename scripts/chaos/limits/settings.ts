/**
 * Tenants and how many messages of each one process gets a second. The first floods: six processes get 90 a second, of which
 * eight places serve 53. The others stay far below their places, also where calls take four times as long on a busy machine.
 */
export const tenants = { flood: 15, small: 1, medium: 2, steady: 2 } as const
export type Tenant = keyof typeof tenants
export const names = Object.keys(tenants) as readonly Tenant[]

export const maxConcurrent = 8
export const leaseMs = 2_000
/** Places of one process, for all tenants. */
export const usualConcurrency = 6

/** What a worker says at its end. */
export interface LimitsWorkerCounts {
  readonly sent: Record<Tenant, number>
  readonly done: Record<Tenant, number>
  /** Nacks above the limit. */
  readonly refused: Record<Tenant, number>
  /** Handlers that were told to end, since the lease of their place could not be renewed in time. */
  readonly lostPlaces: Record<Tenant, number>
  /** From sending to the start of the handler, all in all. */
  readonly waitedMs: Record<Tenant, number>
  /** From the start of the handler to its end, all in all. */
  readonly ranMs: Record<Tenant, number>
}

export const zero = (): Record<Tenant, number> =>
  Object.fromEntries(names.map((name) => [name, 0])) as Record<Tenant, number>

export interface LimitsWorkerSettings {
  readonly id: string
  readonly targetUrl: string
  readonly redisUrl: string
  /** The places are kept there, not in Redis. */
  readonly postgres: { readonly url: string; readonly schema: string } | null
  readonly prefix: string
  /** Messages a second that a process gets of the tenant that floods. */
  readonly flood: number
  readonly concurrency: number
  /** `false`: no limit but the consumer's concurrency. */
  readonly limited: boolean
  readonly planted: string | null
}
