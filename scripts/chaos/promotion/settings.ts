import type { ReplayOptions } from '../../../src/flow/index.ts'

/** What a member of a version gets. */
export interface VersionSettings {
  readonly brokers: readonly string[]
  readonly topic: string
  readonly groupId: string
  /** Of the pipeline: `orders`, or `orders@v2`. */
  readonly name: string
  readonly until: ReplayOptions['until']
  readonly postgresUrl: string
  readonly schema: string
  readonly handlerMs: number
}

/** Orders of work that the run must find to be wrong. */
export const breaks: Readonly<Record<string, string>> = {
  naive: 'PR-6: the second version does what comes after the end of the log as it is now, and the first one is stopped',
}
