import { existsSync, readFileSync } from 'node:fs'
import type { Report } from '../chaos/scenario.ts'
import type { Surroundings } from './surroundings.ts'

/** What is kept of a scenario's last run: the page is made of these. */
export interface Record {
  readonly name: string
  readonly seed: number
  readonly full: boolean
  readonly seconds: number
  readonly around: Surroundings
  /** Missing where the scenario did not come to its end. */
  readonly report?: Report
  readonly violations: readonly string[]
}

export function readRecords(file: string): ReadonlyMap<string, Record> {
  const records = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as readonly Record[]) : []
  return new Map(records.map((record) => [record.name, record]))
}
