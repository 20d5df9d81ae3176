/** Tenants and how many messages of each one process gets a second. The first floods. */
export const tenants = { flood: 40, small: 2, medium: 5, steady: 5 } as const
export type Tenant = keyof typeof tenants
export const names = Object.keys(tenants) as readonly Tenant[]

export const maxConcurrent = 8
export const leaseMs = 1_000
/** Places of one process, for all tenants. */
export const concurrency = 6

/** What a worker says at its end. */
export interface LimitsWorkerCounts {
  readonly sent: Record<Tenant, number>
  readonly done: Record<Tenant, number>
  /** Nacks above the limit. */
  readonly refused: Record<Tenant, number>
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
  readonly prefix: string
  /** `false`: no limit but the consumer's concurrency. */
  readonly limited: boolean
  readonly planted: string | null
}
