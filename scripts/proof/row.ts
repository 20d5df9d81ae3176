import { spawn } from 'node:child_process'
import { join } from 'node:path'
import type { Report, Scenario } from '../chaos/scenario.ts'
import type { Record } from './records.ts'

/** How a scenario ended. */
export type Row = Pick<Record, 'seconds' | 'report' | 'violations'>

interface Told {
  readonly report: Report
  readonly violations: readonly string[]
}

const limitMs = { shortened: 8 * 60_000, full: 4 * 3_600_000 }
const graceMs = 30_000

/** Runs a scenario in a process of its own: one that crashes or hangs is a row that says so. */
export async function rowOf(
  scenario: Scenario,
  { seed, full, signal }: { readonly seed: number; readonly full: boolean; readonly signal: AbortSignal },
): Promise<Row> {
  const args = ['--scenario', scenario.name, '--seed', `${seed}`, ...(full ? ['--full'] : [])]
  const flags = ['--disable-warning=TimeoutNegativeWarning', '--disable-warning=ExperimentalWarning']
  const startedMs = performance.now()
  const child = spawn(process.execPath, [...flags, join(import.meta.dirname, '../chaos/run.ts'), ...args], {
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
  })
  const seen: { told?: Told; tooLong?: boolean } = {}
  const end = () => {
    child.kill('SIGTERM')
    setTimeout(() => child.kill('SIGKILL'), graceMs).unref()
  }
  const limit = setTimeout(
    () => {
      seen.tooLong = true
      end()
    },
    full ? limitMs.full : limitMs.shortened,
  )
  signal.addEventListener('abort', end)
  child.on('message', (message) => {
    seen.told = message as Told
    clearTimeout(limit)
    setTimeout(end, graceMs).unref()
  })
  const [code, by] = await new Promise<[number | null, NodeJS.Signals | null]>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (...ended) => resolve(ended))
  })
  clearTimeout(limit)
  signal.removeEventListener('abort', end)
  const seconds = (performance.now() - startedMs) / 1000
  const { told, tooLong = false } = seen
  const violations = [...(told?.violations ?? [])]
  if (tooLong) violations.push('it took too long')
  else if (told === undefined || (code !== 0 && violations.length === 0)) violations.push(`it ended with ${by ?? code}`)
  return { seconds, ...(told !== undefined && { report: told.report }), violations }
}
