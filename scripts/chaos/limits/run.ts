import { setTimeout as sleep } from 'node:timers/promises'
import { spawnChild, type Child } from '../../../test/support/child.ts'
import { uniqueName } from '../../../test/support/unique-name.ts'
import {
  leaseMs,
  names,
  tenants,
  usualConcurrency,
  zero,
  type LimitsWorkerCounts,
  type LimitsWorkerSettings,
  type Tenant,
} from './settings.ts'
import { limitsTarget } from './target.ts'

export const processes = 6
/** A new process takes a good part of a second of a core. */
const strikeEveryMs = 2_000
const longestMs = 120_000

export interface LimitsRun {
  readonly redisUrl: string
  /** @defaultValue places in Redis */
  readonly postgres?: LimitsWorkerSettings['postgres']
  readonly limited: boolean
  /** At least so long, and until there were `starts`. */
  readonly seconds: number
  readonly starts: number
  readonly planted: string | null
  readonly random: () => number
  readonly signal: AbortSignal
  /** Kills with -9, and stops for longer than a lease. */
  readonly attack: boolean
  /** @defaultValue that of `tenants` */
  readonly flood?: number
  /** @defaultValue `usualConcurrency` */
  readonly concurrency?: number
}

export interface LimitsCounts {
  readonly starts: number
  readonly over: number
  readonly peak: number
  readonly kills: number
  readonly stops: number
  /** By the processes that lived to the end, for each second of one run. */
  readonly sentPerSecond: Readonly<Record<Tenant, number>>
  readonly donePerSecond: Readonly<Record<Tenant, number>>
  /** Of those that were handled, from sending to the start; and how long they ran. */
  readonly waitedMs: Readonly<Record<Tenant, number>>
  readonly ranMs: Readonly<Record<Tenant, number>>
  /** Starts whose place was lost while they ran. */
  readonly lostPlaces: number
  /** How often a message was delivered, those that were not handled yet included. */
  readonly deliveriesPerMessage: number
}

/** Processes with the same tenants. One tenant floods. */
export async function limitsRun({
  seconds,
  starts,
  attack,
  random,
  signal,
  ...settings
}: LimitsRun): Promise<LimitsCounts> {
  const target = await limitsTarget()
  const prefix = uniqueName('limits')
  const all: Child[] = []
  const alive = new Map<string, Child>()
  let born = 0
  async function start(): Promise<void> {
    const id = `p${born++}`
    const usual = { flood: tenants.flood, concurrency: usualConcurrency, postgres: null }
    const own: LimitsWorkerSettings = { ...usual, ...settings, id, targetUrl: target.url, prefix }
    const child = spawnChild('scripts/chaos/limits/worker.ts', { args: [JSON.stringify(own)] })
    all.push(child)
    await child.line('ready', 120_000)
    alive.set(id, child)
  }
  let [kills, stops] = [0, 0]
  let strikes = 0
  function strike(): void {
    const ids = [...alive.keys()]
    // Who starts takes long on a busy machine, and somebody has to work.
    if (ids.length < 3) return
    const id = ids[Math.floor(random() * ids.length)]
    const child = id === undefined ? undefined : alive.get(id)
    if (id === undefined || child === undefined) return
    alive.delete(id)
    if (++strikes % 3 > 0) {
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
    const beganMs = performance.now()
    const isDone = (): boolean => {
      const tookMs = performance.now() - beganMs
      return tookMs > longestMs || (tookMs > seconds * 1000 && target.starts >= starts)
    }
    while (!isDone()) {
      await sleep(attack ? strikeEveryMs : 250, undefined, { signal })
      if (attack) strike()
    }
    const tookSeconds = (performance.now() - beganMs) / 1000
    for (const child of alive.values()) child.send('end')
    const ends = await Promise.all([...alive.values()].map((child) => child.line('end', 30_000)))
    const counts = ends.map((line) => JSON.parse(line.slice(4)) as LimitsWorkerCounts)
    const total = (of: keyof LimitsWorkerCounts): Record<Tenant, number> => {
      const sums = zero()
      for (const one of counts) for (const name of names) sums[name] += one[of][name]
      return sums
    }
    const each = (of: (name: Tenant) => number): Record<Tenant, number> =>
      Object.fromEntries(names.map((name) => [name, of(name)])) as Record<Tenant, number>
    const [sent, done, waited, ran] = [total('sent'), total('done'), total('waitedMs'), total('ranMs')]
    const all = (sums: Record<Tenant, number>): number => names.reduce((sum, name) => sum + sums[name], 0)
    return {
      ...{ starts: target.starts, over: target.over, peak: target.peak, kills, stops },
      sentPerSecond: each((name) => sent[name] / tookSeconds),
      donePerSecond: each((name) => done[name] / tookSeconds),
      waitedMs: each((name) => Math.round(waited[name] / Math.max(1, done[name]))),
      ranMs: each((name) => Math.round(ran[name] / Math.max(1, done[name]))),
      lostPlaces: all(total('lostPlaces')),
      deliveriesPerMessage: (all(done) + all(total('refused'))) / Math.max(1, all(sent)),
    }
  } finally {
    for (const child of all) child.kill('SIGCONT')
    await Promise.all(all.map((child) => child.dispose()))
    await target.close()
  }
}
