import { setTimeout as sleep } from 'node:timers/promises'
import { spawnChild, type Child } from '../../../test/support/child.ts'
import { uniqueName } from '../../../test/support/unique-name.ts'
import { fleetDependency, type FleetDependency } from './dependency.ts'
import type { FleetWorkerCounts, FleetWorkerSettings } from './settings.ts'

export const size = 8
export const probeTimeoutMs = 2_000
/** A grant is good for twice the time of a probe. */
export const leaseMs = 2 * probeTimeoutMs

export interface Fleet {
  readonly dependency: FleetDependency
  /** Of the keys in Redis. */
  readonly prefix: string
  readonly workers: Map<string, Child>
  start(id: string): Promise<void>
  /** Kills one with -9, and starts another in its place. */
  replace(id: string): void
  readonly killed: number
  /** Whether every circuit is closed, by what the workers say. */
  allClosed(): boolean
  /** Ends all workers, and sums up what they counted. */
  end(): Promise<FleetWorkerCounts[]>
}

export interface FleetOptions {
  readonly redisUrl: string | null
  /** Messages per second of each process. */
  readonly perSecond: number
  /** One process that reaches no Redis. */
  readonly cutOff?: string
  readonly planted?: string | undefined
}

/** Processes with one dependency, and their circuits. */
export async function withFleet<T>(options: FleetOptions, run: (fleet: Fleet) => Promise<T>): Promise<T> {
  const dependency = await fleetDependency()
  const workers = new Map<string, Child>()
  const all: Child[] = []
  const prefix = uniqueName('fleet')
  let killed = 0

  function spawn(id: string): Child {
    const redisUrl = options.cutOff === id ? 'redis://127.0.0.1:1' : options.redisUrl
    const settings: FleetWorkerSettings = {
      ...{ id, dependencyUrl: dependency.url, redisUrl, prefix, probeTimeoutMs, perSecond: options.perSecond },
      planted: options.planted ?? null,
    }
    const child = spawnChild('scripts/chaos/fleet/worker.ts', { args: [JSON.stringify(settings)] })
    workers.set(id, child)
    all.push(child)
    return child
  }

  const changesOf = (child: Child): readonly string[] => child.lines.filter((line) => line.startsWith('change'))
  const fleet: Fleet = {
    dependency,
    prefix,
    workers,
    async start(id) {
      await spawn(id).line('ready', 120_000)
    },
    replace(id) {
      killed++
      workers.get(id)?.kill('SIGKILL')
      workers.delete(id)
      void fleet.start(`${id}b`).catch(() => {})
    },
    get killed() {
      return killed
    },
    allClosed: () => [...workers.values()].every((child) => changesOf(child).at(-1)?.endsWith('closed') ?? true),
    async end() {
      for (const worker of workers.values()) worker.send('end')
      const lines = await Promise.all([...workers.values()].map((worker) => worker.line('end', 90_000)))
      return lines.map((line) => JSON.parse(line.slice('end '.length)) as FleetWorkerCounts)
    },
  }
  try {
    await Promise.all(Array.from({ length: size }, (_, n) => fleet.start(`w${n}`)))
    return await run(fleet)
  } finally {
    for (const child of all) child.kill('SIGCONT')
    await Promise.all(all.map((child) => child.dispose()))
    await dependency.close()
  }
}

export async function until(what: string, isSo: () => boolean, withinMs = 30_000): Promise<void> {
  const endMs = performance.now() + withinMs
  while (!isSo()) {
    if (performance.now() > endMs) throw new Error(`${what} did not come within ${withinMs} ms`)
    await sleep(10)
  }
}
