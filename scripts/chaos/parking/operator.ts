import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { postgresOperatorStore } from '../../../src/stores/postgres/index.ts'
import type { Source } from './source.ts'

/** What the operator did to blocked keys. */
export interface Acts {
  unblocked: number
  dropped: number
}

/** Looks at blocked keys: what was mended runs again, the rest is dropped, some of it after another try. */
export async function operate(
  pool: pg.Pool,
  name: string,
  source: Source,
  over: AbortSignal,
  acts: Acts,
): Promise<void> {
  const store = postgresOperatorStore(pool, { schema: name })
  const tried = new Set<string>()

  async function help(lane: string, claimKey: string): Promise<void> {
    const n = Number(claimKey.slice(1))
    const again = source.fates[n] === 'mended' || (n % 3 === 0 && !tried.has(claimKey))
    tried.add(claimKey)
    if (!again) acts.dropped += (await store.dropParked?.(name, lane, 'chaos', { claimKey })) ?? 0
    else if ((await store.unblockLane?.(name, lane, 'chaos')) === 'ok') acts.unblocked++
  }

  while (!over.aborted) {
    await sleep(500)
    try {
      const lanes = (await store.parked?.({ scope: name, blocked: true, limit: 200 })) ?? []
      for (const { lane, claimKey } of lanes) await help(lane, claimKey)
    } catch {
      // The database is away: the next look comes soon.
    }
  }
}
