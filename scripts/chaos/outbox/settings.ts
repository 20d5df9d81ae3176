/** What a relay process is told. */
export interface RelaySettings {
  readonly postgresUrl: string
  readonly schema: string
  /** `null`: the process that started it is the broker, at `port`. */
  readonly brokers: readonly string[] | null
  readonly port: number
  readonly leaseMs: number
  readonly batchRows: number
  readonly slowMs: number
  readonly planted: string | undefined
}
