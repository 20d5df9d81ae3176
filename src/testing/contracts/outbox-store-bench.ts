import assert from 'node:assert/strict'
import type { Headers } from '../../core/message.ts'
import type { OutboxLease, OutboxRow, OutboxStore } from '../../outbox/store.ts'

/** One outbox to be tested, empty, and a way to write to it. */
export interface OutboxStoreHarness {
  readonly store: OutboxStore
  readonly begin: () => Promise<OutboxTestTransaction> | OutboxTestTransaction
  /** Lets that much time pass for the store: a fake clock moves, a real server is waited for. */
  readonly advance: (ms: number) => Promise<void>
  readonly dispose?: () => Promise<void>
}

/** An open transaction: what it adds draws its place at once, and is seen by nobody before the commit. */
export interface OutboxTestTransaction {
  add(...messages: readonly OutboxTestMessage[]): Promise<void>
  commit(): Promise<void>
  rollback(): Promise<void>
}

export interface OutboxTestMessage {
  readonly id: string
  readonly key: string | null
  readonly body?: Uint8Array | null
  readonly headers?: Headers
  /** Not before this much time has passed. */
  readonly delayMs?: number
}

export const longMs = 60_000
export const shortMs = 60
// Real servers and timers are not exact.
export const pastShortMs = 150

export async function claimAll(store: OutboxStore, owner: string, leaseMs: number = longMs): Promise<OutboxLease[]> {
  const { shards } = await store.attend(owner, leaseMs)
  const leases: OutboxLease[] = []
  while (leases.length < shards) {
    const held = leases.map(({ shard }) => shard)
    const lease = await store.claim(owner, leaseMs, held)
    assert.ok(lease !== null, `${owner} gets shard ${leases.length + 1} of ${shards}`)
    leases.push(lease)
  }
  return leases
}

/** The lease whose shard has something to read, and that much of it. */
export async function readFirst(
  leases: readonly OutboxLease[],
  maxRows: number,
): Promise<{ readonly lease: OutboxLease; readonly rows: readonly OutboxRow[] }> {
  for (const lease of leases) {
    const rows = await read(lease, maxRows)
    if (rows.length > 0) return { lease, rows }
  }
  throw new Error('there is nothing to read')
}

export async function read(lease: OutboxLease, maxRows: number, maxBytes = 1_000_000): Promise<readonly OutboxRow[]> {
  const rows = await lease.read(maxRows, maxBytes)
  if (rows === 'lost') throw new Error('the lease is lost')
  return rows
}

export async function drain(leases: readonly OutboxLease[], maxRows = 100): Promise<OutboxRow[]> {
  const all: OutboxRow[] = []
  for (const lease of leases)
    for (;;) {
      const rows = await read(lease, maxRows)
      if (rows.length === 0) break
      all.push(...rows)
      assert.equal(await lease.settle([]), 'ok')
    }
  return all
}

export async function commit(
  begin: OutboxStoreHarness['begin'],
  ...messages: readonly OutboxTestMessage[]
): Promise<void> {
  const transaction = await begin()
  await transaction.add(...messages)
  await transaction.commit()
}

export function ids(rows: readonly OutboxRow[]): string[] {
  return rows.map(({ id }) => id)
}

export function sum(numbers: readonly number[]): number {
  return numbers.reduce((total, each) => total + each, 0)
}

export function plain(headers: Headers): readonly unknown[] {
  return Object.entries(headers)
    .map(([name, value]) => [name, value instanceof Uint8Array ? Buffer.from(value).toString('hex') : value])
    .sort()
}
