import { sqlState } from '../failures.ts'
import type { PoolClientSlice, PoolSlice } from '../queryable.ts'

/**
 * Runs `work` in a transaction that holds what `lock` takes with NOWAIT, or answers `'locked'` at once: nobody waits, and
 * so nobody waits behind us.
 */
export async function underLock<Client extends PoolClientSlice, T>(
  pool: PoolSlice<Client>,
  lock: string,
  work: (client: Client) => Promise<T>,
): Promise<T | 'locked'> {
  const client = await pool.connect()
  const ignore = (): void => undefined
  client.on('error', ignore)
  let broken = true
  try {
    // Read committed: under any other level the work would see what was there before the lock.
    await client.query('begin isolation level read committed', [])
    try {
      await client.query(lock, [])
    } catch (error) {
      await client.query('rollback', [])
      broken = false
      if (sqlState(error) === lockNotAvailable) return 'locked'
      throw error
    }
    const result = await work(client)
    await client.query('commit', [])
    broken = false
    return result
  } finally {
    client.off('error', ignore)
    client.release(broken)
  }
}

export const lockNotAvailable = '55P03'
