import { mkdir } from 'node:fs/promises'
import { dirname } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'

const LOCKED = 5

/**
 * Runs `work` while no other process holds the same lock file.
 *
 * The lock is SQLite's: the operating system frees it when its holder dies, so it is never stale.
 */
export async function withLock<T>(file: string, work: () => Promise<T>, onWait: () => void = () => {}): Promise<T> {
  await mkdir(dirname(file), { recursive: true })
  const database = new DatabaseSync(file)
  try {
    for (let waited = false; !take(database); waited = true) {
      if (!waited) onWait()
      await sleep(100)
    }
    return await work()
  } finally {
    database.close()
  }
}

function take(database: DatabaseSync): boolean {
  try {
    database.exec('BEGIN EXCLUSIVE')
    return true
  } catch (error) {
    if (error instanceof Error && 'errcode' in error && error.errcode === LOCKED) return false
    throw error
  }
}
