import { randomUUID } from 'node:crypto'
import { systemClock, type Clock } from '../core/clock.ts'
import { outboxIdHeader, withHeaders, type Bytes } from '../core/message.ts'
import { anything, checkOptions, clockKind, requireCount } from '../core/options.ts'
import { headersFromJson } from './headers-json.ts'
import { outbox, type Outbox, type OutboxEntry, type OutboxOptions } from './outbox.ts'
import type { DeadRow, OutboxLease, OutboxRow, OutboxStore } from './store.ts'

export interface MemoryOutboxOptions {
  /** @defaultValue 4 */
  readonly shards?: number
  readonly clock?: Clock
}

/** An outbox in this process, for tests and examples. All messages are lost when the process ends. */
export interface MemoryOutboxStore extends OutboxStore {
  begin(): MemoryTransaction
  /** Messages that the broker refused for good. */
  readonly dead: readonly (DeadRow & { readonly row: OutboxRow })[]
}

export interface MemoryTransaction {
  /** Assigns the positions now, as a database sequence does. Messages become visible at the commit. */
  add(entries: readonly OutboxEntry[]): void
  commit(): void
  rollback(): void
}

interface Kept {
  readonly id: bigint
  readonly entry: OutboxEntry
  readonly addedMs: number
}

interface Shard {
  unread: Kept[]
  delayed: Kept[]
  owner: string | null
  epoch: bigint
  leaseUntilMs: number
}

/** Adds messages to a memory store. `tx` comes from its `begin()`. */
export function memoryOutbox<Body = Bytes>(options: OutboxOptions<Body> = {}): Outbox<MemoryTransaction, Body> {
  return outbox((tx: MemoryTransaction, entries) => Promise.resolve(tx.add(entries)), options)
}

export function memoryOutboxStore(options: MemoryOutboxOptions = {}): MemoryOutboxStore {
  const { shards: count = 4, clock = systemClock } = checkOptions('memoryOutboxStore', options, {
    shards: anything,
    clock: clockKind,
  })
  requireCount('memoryOutboxStore', { shards: count })
  const source = randomUUID()
  const relays = new Map<string, number>()
  const dead: (DeadRow & { row: OutboxRow })[] = []
  const shards = Array.from({ length: count }, (): Shard => {
    return { unread: [], delayed: [], owner: null, epoch: 0n, leaseUntilMs: -Infinity }
  })
  let lastId = 0n

  function shardOf({ key, id }: OutboxEntry): Shard {
    let hash = 0
    for (const char of key ?? id) hash = (hash * 31 + (char.codePointAt(0) ?? 0)) >>> 0
    return shards[hash % count] as Shard
  }

  function lease(at: number, shard: Shard, leaseMs: number): OutboxLease {
    const epoch = shard.epoch
    let read: Kept[] = []
    const held = (): boolean => shard.epoch === epoch

    return {
      shard: at,
      epoch,
      read(maxRows, maxBytes) {
        if (!held()) return Promise.resolve('lost')
        shard.unread.sort((a, b) => (a.id < b.id ? -1 : 1))
        let bytes = 0
        read = shard.unread.slice(0, maxRows).filter(({ entry }, place) => {
          bytes += entry.body?.byteLength ?? 0
          return place === 0 || bytes <= maxBytes
        })
        return Promise.resolve(read.map(rowFrom))
      },
      settle(refused) {
        if (!held()) return Promise.resolve('lost')
        const errors = new Map(refused.map((each) => [each.position, each]))
        for (const kept of read) {
          const found = errors.get(String(kept.id))
          if (found !== undefined) dead.push({ ...found, row: rowFrom(kept) })
        }
        const settled = new Set(read)
        shard.unread = shard.unread.filter((kept) => !settled.has(kept))
        read = []
        return Promise.resolve('ok')
      },
      renew() {
        if (!held()) return Promise.resolve('lost')
        shard.leaseUntilMs = clock.now() + leaseMs
        return Promise.resolve('ok')
      },
      moveDue(maxRows) {
        if (!held()) return Promise.resolve(0)
        const isDue = ({ entry }: Kept): boolean => (entry.dueMs ?? 0) <= clock.wall()
        const due = shard.delayed
          .filter(isDue)
          .sort((a, b) => (a.entry.dueMs ?? 0) - (b.entry.dueMs ?? 0) || Number(a.id - b.id))
        const moved = due.slice(0, maxRows)
        shard.delayed = shard.delayed.filter((kept) => !moved.includes(kept))
        for (const { entry } of moved) shard.unread.push({ id: ++lastId, entry, addedMs: clock.wall() })
        return Promise.resolve(moved.length)
      },
      release() {
        if (held()) Object.assign(shard, { owner: null, leaseUntilMs: -Infinity })
        return Promise.resolve()
      },
    }
  }

  function rowFrom({ id, entry, addedMs }: Kept): OutboxRow {
    const headers = withHeaders(headersFromJson(entry.headers), { [outboxIdHeader]: `${source}/1/${id}` })
    const { destination, key, type, body } = entry
    const ageMs = Math.max(0, clock.wall() - addedMs)
    return { position: String(id), destination, key, type, id: entry.id, headers, body, timeMs: addedMs, ageMs }
  }

  return {
    name: 'memory',
    dead,
    begin() {
      let pending: Kept[] = []
      return {
        add(entries) {
          for (const entry of entries) pending.push({ id: ++lastId, entry, addedMs: clock.wall() })
        },
        commit() {
          for (const kept of pending) {
            const shard = shardOf(kept.entry)
            ;(kept.entry.dueMs === null ? shard.unread : shard.delayed).push(kept)
          }
          pending = []
        },
        rollback() {
          pending = []
        },
      }
    },
    check: () => Promise.resolve(),
    attend(owner, leaseMs) {
      relays.set(owner, clock.now() + leaseMs)
      for (const [name, untilMs] of relays) if (untilMs <= clock.now()) relays.delete(name)
      const before = [...relays.keys()].filter((name) => name < owner).length
      const share = Math.floor(count / relays.size) + (before < count % relays.size ? 1 : 0)
      return Promise.resolve({ shards: count, share, relays: relays.size, refused: null })
    },
    claim(owner, leaseMs, held) {
      const at = shards.findIndex(
        (shard, place) => !held.includes(place) && (shard.owner === owner || shard.leaseUntilMs <= clock.now()),
      )
      const shard = shards[at]
      if (shard === undefined) return Promise.resolve(null)
      Object.assign(shard, { owner, epoch: shard.epoch + 1n, leaseUntilMs: clock.now() + leaseMs })
      return Promise.resolve(lease(at, shard, leaseMs))
    },
    leave(owner) {
      relays.delete(owner)
      for (const shard of shards)
        if (shard.owner === owner) Object.assign(shard, { owner: null, leaseUntilMs: -Infinity })
      return Promise.resolve()
    },
    rotate: () => Promise.resolve([]),
    status() {
      const ages = shards.flatMap(({ unread }) => unread.map(({ addedMs }) => clock.wall() - addedMs))
      return Promise.resolve({
        shards: shards.map(({ owner, epoch, leaseUntilMs }, shard) => {
          return { shard, owner, epoch, held: leaseUntilMs > clock.now() }
        }),
        pending: ages.length,
        pendingLimit: Number.MAX_SAFE_INTEGER,
        oldestAgeMs: ages.length === 0 ? null : Math.max(...ages),
        delayed: shards.reduce((sum, { delayed }) => sum + delayed.length, 0),
        dead: dead.length,
      })
    },
  }
}
