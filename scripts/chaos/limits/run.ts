import { setTimeout as sleep } from 'node:timers/promises'
import { spawnChild, type Child } from '../../../test/support/child.ts'
import { uniqueName } from '../../../test/support/unique-name.ts'
import { leaseMs, type LimitsWorkerSettings, type Tenant } from './settings.ts'
import { limitsTarget } from './target.ts'

export const processes = 6

export interface LimitsRun {
  readonly redisUrl: string
  readonly limited: boolean
  readonly seconds: number
  readonly planted: string | null
  readonly random: () => number
  readonly signal: AbortSignal
  /** Kills with -9, and stops for longer than a lease. */
  readonly attack: boolean
}

export interface LimitsCounts {
  readonly starts: number
  readonly over: number
  readonly peak: number
  readonly kills: number
  readonly stops: number
  /** Calls of each tenant a second. */
  readonly perSecond: Readonly<Record<Tenant, number>>
  /** Of the processes that lived to the end. */
  readonly startsPerMessage: number
}

/** Processes with the same tenants. One tenant floods. */
export async function limitsRun({ seconds, attack, random, signal, ...settings }: LimitsRun): Promise<LimitsCounts> {
  const target = await limitsTarget()
  const prefix = uniqueName('limits')
  const all: Child[] = []
  const alive = new Map<string, Child>()
  let born = 0
  async function start(): Promise<void> {
    const id = `p${born++}`
    const own: LimitsWorkerSettings = { ...settings, id, targetUrl: target.url, prefix }
    const child = spawnChild('scripts/chaos/limits/worker.ts', { args: [JSON.stringify(own)] })
    all.push(child)
    await child.line('ready', 120_000)
    alive.set(id, child)
  }
  let [kills, stops] = [0, 0]
  function strike(): void {
    const ids = [...alive.keys()]
    const id = ids[Math.floor(random() * ids.length)]
    const child = id === undefined ? undefined : alive.get(id)
    if (id === undefined || child === undefined) return
    alive.delete(id)
    if (random() < 0.7) {
      kills++
      child.kill('SIGKILL')
      void start().catch(() => {})
      return
    }
    stops++
    child.kill('SIGSTOP')
    setTimeout(() => {
      child.kill('SIGCONT')
      alive.set(id, child)
    }, leaseMs * 2.5)
  }
  try {
    await Promise.all(Array.from({ length: processes }, start))
    await sleep(1_000, undefined, { signal })
    const before = { ...target.done }
    const beganMs = performance.now()
    while (performance.now() - beganMs < seconds * 1000) {
      await sleep(attack ? 1_000 : 250, undefined, { signal })
      if (attack) strike()
    }
    const tookSeconds = (performance.now() - beganMs) / 1000
    const rates = Object.entries(target.done).map(([name, done]) => [
      name,
      (done - before[name as Tenant]) / tookSeconds,
    ])
    for (const child of alive.values()) child.send('end')
    const ends = await Promise.all([...alive.values()].map((child) => child.line('end', 30_000)))
    const counts = ends.map((line) => JSON.parse(line.slice(4)) as { done: number; refused: number })
    const sum = (of: 'done' | 'refused'): number => counts.reduce((total, each) => total + each[of], 0)
    return {
      ...{ starts: target.starts, over: target.over, peak: target.peak, kills, stops },
      perSecond: Object.fromEntries(rates) as Record<Tenant, number>,
      startsPerMessage: (sum('done') + sum('refused')) / Math.max(1, sum('done')),
    }
  } finally {
    for (const child of all) child.kill('SIGCONT')
    await Promise.all(all.map((child) => child.dispose()))
    await target.close()
  }
}
