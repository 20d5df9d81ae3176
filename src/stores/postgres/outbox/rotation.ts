import type { Clock } from '../../../core/clock.ts'
import type { Rotation } from '../../../outbox/store.ts'
import { underLock } from './lock.ts'
import type { OutboxStatements } from './statements.ts'
import type { PoolClientSlice, PoolSlice, QueryAnswer } from '../queryable.ts'
import { flagField, numberField } from '../rows.ts'

const tries = 20

/** Truncates each partition that takes no new rows and holds nothing unread. */
export async function rotateOutbox<Client extends PoolClientSlice>(
  pool: PoolSlice<Client>,
  run: (text: string, values: unknown[]) => Promise<QueryAnswer>,
  statements: OutboxStatements,
  clock: Clock,
  signal?: AbortSignal,
): Promise<readonly Rotation[]> {
  const { rows } = await run(statements.slots, [])
  const current = numberField(rows[0], 'current')
  const rotations: Rotation[] = []
  for (const slot of [0, 1, 2].filter((each) => each !== current)) {
    if (signal?.aborted === true) break
    if (numberField(rows[0], `size_${slot}`) === 0) rotations.push({ slot, result: 'empty' })
    // A look without the lock first: most of the time there is nothing to do.
    else if (flagField((await run(statements.busy(slot), [])).rows[0], 'busy')) rotations.push({ slot, result: 'busy' })
    else rotations.push({ slot, result: await cleanSlot(pool, statements, slot, clock) })
  }
  return rotations
}

async function cleanSlot<Client extends PoolClientSlice>(
  pool: PoolSlice<Client>,
  statements: OutboxStatements,
  slot: number,
  clock: Clock,
): Promise<Rotation['result']> {
  for (let left = tries; left > 0; left--) {
    const result = await attempt(pool, statements, slot)
    if (result !== 'locked') return result
    await new Promise<void>((resolve) => clock.after(1 + Math.random() * 5, resolve))
  }
  return 'locked'
}

function attempt<Client extends PoolClientSlice>(
  pool: PoolSlice<Client>,
  statements: OutboxStatements,
  slot: number,
): Promise<Rotation['result']> {
  return underLock(pool, statements.lockSlot(slot), async (client) => {
    const { rows } = await client.query(statements.busy(slot), [])
    if (rows.length === 0 || flagField(rows[0], 'busy')) return 'busy'
    await client.query(statements.truncateSlot(slot), [])
    return 'cleaned'
  })
}
