import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { spawnChild, type Child } from '../../../test/support/child.ts'
import type { KafkaRig } from './rig.ts'
import type { WorkerSettings } from './worker.ts'

const size = 2
/** Two processes and a join, on a machine that has other work. */
const startMs = 180_000
const stalledMs = 60_000

/** The starts of handlers, noted outside of their transactions. */
export async function prepareCalls(pool: pg.Pool, schema: string): Promise<void> {
  await pool.query(
    `create table ${schema}.calls (seq bigserial, id text not null, pid int not null, first boolean not null)`,
  )
}

/**
 * Keeps some processes alive until everything is done; gives the pids of those that died meanwhile, by themselves or by
 * `killEveryMs`.
 */
export async function aliveUntilDone(
  rig: KafkaRig,
  settings: WorkerSettings,
  { killEveryMs }: { readonly killEveryMs?: number } = {},
): Promise<{ readonly died: readonly number[]; readonly killed: number }> {
  const workers = new Set<Child>()
  const died: number[] = []
  const over = new AbortController()
  let killed = 0
  function start(): void {
    const child = spawnChild('scripts/chaos/kafka/worker.ts', { args: [JSON.stringify(settings)] })
    workers.add(child)
    void child.exited.then(() => {
      workers.delete(child)
      if (over.signal.aborted) return
      died.push(child.pid)
      start()
    })
  }
  async function kill(everyMs: number): Promise<void> {
    for (;;) {
      await sleep(everyMs * (0.5 + rig.random()), undefined, { signal: over.signal })
      const busy = [...workers].filter(({ lines }) => lines.some((line) => line.startsWith('called')))
      const child = busy[Math.floor(rig.random() * busy.length)]
      if (child === undefined) continue
      killed++
      child.kill('SIGKILL')
    }
  }
  try {
    for (let n = 0; n < size; n++) start()
    if (killEveryMs !== undefined) void kill(killEveryMs).catch(() => {})
    await Promise.any([...workers].map((worker) => worker.line('called', startMs)))
    await rig.settle(0, stalledMs)
  } finally {
    over.abort()
    await Promise.all([...workers].map((worker) => worker.dispose()))
  }
  return { died, killed }
}
