import { headersFrom } from '../../../src/core/message.ts'
import type { OutboxLease, OutboxRow, OutboxStore, Rotation } from '../../../src/outbox/store.ts'
import type { SimulatedProcess } from '../../../src/testing/world/process.ts'
import { callFaults, type Simulation } from '../../../src/testing/world/task.ts'
import type { Row, Snapshot, SnapshotTable } from './snapshots.ts'

/** How a reader finds what is new. All but `windows` lose or reorder. */
export type Reading = 'windows' | 'cursor by id' | 'order by xid'

export interface OutboxBugs {
  /** @defaultValue `'windows'` */
  readonly reading?: Reading
  /** Cleans up without looking whether everything was read. @defaultValue `false` */
  readonly unguarded?: boolean
  /** A new owner begins with what comes from now on, not where the one before it stood. @defaultValue `false` */
  readonly forgets?: boolean
}

/** What every relay sees: one row for each shard. */
export interface ShardRow {
  readonly shard: number
  owner: string | null
  epoch: bigint
  leaseUntilMs: number
  snapshot: Snapshot
  window: Window | null
  /** Only the planted readers keep one. */
  cursor: number
}

/** The rows visible at `to` and not at the shard's snapshot, read up to and with `position`. */
interface Window {
  readonly to: Snapshot
  readonly position: number
}

export interface OutboxDatabase {
  readonly table: SnapshotTable
  readonly shards: readonly ShardRow[]
  /** Relays and until when they are there. */
  readonly relays: Map<string, number>
  downUntilMs: number
}

export function outboxDatabase(table: SnapshotTable, shards: number): OutboxDatabase {
  const row = (shard: number): ShardRow => ({
    ...{ shard, owner: null, epoch: 0n, leaseUntilMs: -1, snapshot: table.snapshot(), window: null, cursor: 0 },
  })
  return { table, shards: Array.from({ length: shards }, (_, i) => row(i)), relays: new Map(), downUntilMs: 0 }
}

export const slotMs = 60_000
const slots = 3
export const slotAt = (nowMs: number): number => Math.floor(nowMs / slotMs) % slots

const faults = [...callFaults.filter((fault) => fault !== 'rebalance'), 'store-down' as const]

/** The port as PostgreSQL carries it out: the same windows, leases and guarded clean-up, one call a statement. */
export function simulatedOutboxStore(
  simulation: Simulation,
  process: SimulatedProcess,
  database: OutboxDatabase,
  { reading = 'windows', unguarded = false, forgets = false }: OutboxBugs = {},
): OutboxStore {
  const { table, shards, relays } = database

  function call<T>(name: string, apply: () => T, quiet = false): Promise<T> {
    const refuses = () => (simulation.nowMs < database.downUntilMs ? 'fails: the database is down' : undefined)
    return simulation.op(process, name, apply, { faults, refuses, quiet })
  }

  function leaseOf(shard: ShardRow, epoch: bigint, leaseMs: number): OutboxLease {
    const isMine = () => shard.epoch === epoch
    const name = (verb: string) => `${verb} s${shard.shard}`
    // What this owner knows, as the relay's process keeps it in memory.
    let read: { readonly snapshot: Snapshot; readonly window: Window | null; readonly cursor: number } | undefined

    function rowsAfter(maxRows: number): readonly Row[] {
      const now = table.snapshot()
      const mine = table.rows.filter((row) => row.shard === shard.shard && table.isVisible(row, now))
      if (reading === 'cursor by id') {
        const page = sorted(mine, 'id')
          .filter(({ id }) => id > shard.cursor)
          .slice(0, maxRows)
        read = { snapshot: now, window: null, cursor: page.at(-1)?.id ?? shard.cursor }
        return page
      }
      if (reading === 'order by xid') {
        // Only what every older transaction has ended before: nothing is lost, but xids are no order of keys.
        const xmin = Math.min(now.xmax, ...now.running)
        const page = sorted(mine, 'xid')
          .filter(({ xid }) => xid > shard.cursor && xid < xmin)
          .slice(0, maxRows)
        read = { snapshot: now, window: null, cursor: page.at(-1)?.xid ?? shard.cursor }
        return page
      }
      const open = shard.window ?? { to: now, position: 0 }
      const window = sorted(mine, 'id').filter(
        (row) => table.isVisible(row, open.to) && !table.isVisible(row, shard.snapshot) && row.id > open.position,
      )
      const page = window.slice(0, maxRows)
      const isLast = page.length === window.length
      const last = page.at(-1)?.id ?? open.position
      read = {
        snapshot: isLast ? open.to : shard.snapshot,
        window: isLast ? null : { to: open.to, position: last },
        cursor: 0,
      }
      // A window larger than a page is stored before any of it is published.
      if (!isLast && shard.window === null) shard.window = open
      return page
    }

    return {
      shard: shard.shard,
      epoch,
      read: (maxRows) =>
        call(
          name('read'),
          () => {
            if (!isMine()) return 'lost'
            const page = rowsAfter(maxRows)
            if (page.length > 0)
              simulation.say(process.name, `reads ${page.map(({ messageId }) => messageId).join(', ')}`)
            return page.map(outboxRow)
          },
          true,
        ),
      settle: () =>
        call(
          name('advance'),
          () => {
            if (!isMine()) return 'lost'
            if (read !== undefined) Object.assign(shard, read)
            shard.leaseUntilMs = simulation.nowMs + leaseMs
            return 'ok'
          },
          true,
        ),
      renew: () =>
        call(
          name('renew'),
          () => {
            if (!isMine()) return 'lost'
            shard.leaseUntilMs = simulation.nowMs + leaseMs
            return 'ok'
          },
          true,
        ),
      moveDue: async () => 0,
      release: () =>
        call(name('release'), () => {
          if (isMine()) shard.leaseUntilMs = -1
        }),
    }
  }

  function busy(slot: number): boolean {
    return table.rows.some((row) => {
      const shard = shards[row.shard]
      return row.slot === slot && shard !== undefined && !table.isVisible(row, shard.snapshot)
    })
  }

  return {
    name: 'simulated',
    check: () => call('check', () => undefined, true),
    attend: (owner, leaseMs) =>
      call(
        'attend',
        () => {
          relays.set(owner, simulation.nowMs + leaseMs)
          const there = [...relays].filter(([, untilMs]) => untilMs > simulation.nowMs).length
          return { shards: shards.length, share: Math.ceil(shards.length / there), relays: there, refused: null }
        },
        true,
      ),
    claim: (owner, leaseMs, held) =>
      call('claim a shard', () => {
        const free = shards.find(({ shard, leaseUntilMs }) => leaseUntilMs < simulation.nowMs && !held.includes(shard))
        if (free === undefined) return null
        free.owner = owner
        if (forgets && free.epoch > 0n) Object.assign(free, { snapshot: table.snapshot(), window: null })
        free.epoch++
        free.leaseUntilMs = simulation.nowMs + leaseMs
        simulation.say(process.name, `holds s${free.shard}, epoch ${free.epoch}`)
        return leaseOf(free, free.epoch, leaseMs)
      }),
    leave: (owner) => call('leave', () => void relays.delete(owner)),
    rotate: () =>
      call(
        'rotate',
        () =>
          Array.from({ length: slots }, (_, slot): Rotation => {
            if (slot === slotAt(simulation.nowMs) || table.rows.every((row) => row.slot !== slot))
              return { slot, result: 'empty' }
            if (table.isLocked(slot)) return { slot, result: 'locked' }
            if (!unguarded && busy(slot)) return { slot, result: 'busy' }
            simulation.say(process.name, `cleans slot ${slot}`)
            table.truncate(slot)
            return { slot, result: 'cleaned' }
          }),
        true,
      ),
    status: async () => ({ shards: [], pending: 0, pendingLimit: 0, oldestAgeMs: null, delayed: 0, dead: 0 }),
  }
}

function sorted(rows: readonly Row[], by: 'id' | 'xid'): readonly Row[] {
  return rows.toSorted((one, other) => one[by] - other[by] || one.id - other.id)
}

function outboxRow({ id, key, messageId }: Row): OutboxRow {
  const position = `${id}`
  return {
    ...{ position, key, id: messageId, destination: 'orders', type: 'order.placed', headers: headersFrom([]) },
    ...{ body: new Uint8Array(), timeMs: 0, ageMs: 0 },
  }
}
