export interface FleetWorkerSettings {
  readonly id: string
  readonly dependencyUrl: string
  /** `null`: a circuit of its own. */
  readonly redisUrl: string | null
  readonly prefix: string
  readonly perSecond: number
  readonly probeTimeoutMs: number
  readonly planted: string | null
}

/** What a worker says at its end. */
export interface FleetWorkerCounts {
  readonly done: number
  readonly dead: number
  readonly unproven: number
  readonly sent: number
  readonly state: string
}
