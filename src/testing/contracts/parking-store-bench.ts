import assert from 'node:assert/strict'
import type { ClaimRequest, HeldClaim, IdempotencyStore } from '../../idempotency/store.ts'
import type {
  Appended,
  AppendRequest,
  LaneLease,
  ParkingStore,
  ParkRequest,
  RejoinRequest,
} from '../../ordering/parking/store.ts'
import { ask, hold, longMs } from './idempotency-store-bench.ts'

/** One store that keeps claims and what is parked, empty. */
export interface ParkingStoreHarness {
  readonly store: IdempotencyStore & ParkingStore
  /** Lets that much time pass for the store: a fake clock moves, a real server is waited for. */
  readonly advance: (ms: number) => Promise<void>
  readonly dispose?: () => Promise<void>
}

export type ParkingStoreCases = Readonly<Record<string, (harness: ParkingStoreHarness) => Promise<void>>>

export const pipeline = 'billing'
export const lane = 'k3:topicA'
const packed = { envelope: Buffer.from('["all but the body"]'), body: Buffer.from([0, 255, 1]), keyText: 'A' }

export const asking = (key: string, token: bigint | null = null, name: string = lane): ClaimRequest =>
  ask(key, { lane: { pipeline, name, token } })

export function parkOf(held: HeldClaim, more: Partial<ParkRequest> = {}): ParkRequest {
  const rest = { generation: 0, fingerprint: null, error: 'Error: not yet', failure: null, retainMs: longMs }
  return { held, pipeline, lane, afterMs: 0, attempts: 1, ...packed, ...rest, ...more }
}

export function appendOf(key: string, more: Partial<AppendRequest> = {}): AppendRequest {
  return { pipeline, lane, scope: 'contract', key, generation: 0, fingerprint: null, cap: 100, ...packed, ...more }
}

export function rejoinOf(key: string, generation: number, more: Partial<RejoinRequest> = {}): RejoinRequest {
  const rest = { fingerprint: null, replaces: null }
  return { pipeline, lane, scope: 'contract', key, generation, ...packed, ...rest, ...more }
}

/** Claims a key and parks its message. */
export async function parkFirst(
  store: ParkingStoreHarness['store'],
  key: string,
  more: Partial<ParkRequest> = {},
  name: string = lane,
): Promise<HeldClaim> {
  const held = await hold(store, asking(key, null, name))
  assert.equal(await store.park(parkOf(held, { lane: name, ...more })), 'ok')
  return held
}

/** Puts one message behind the parked ones. */
export async function append(store: ParkingStore, request: AppendRequest): Promise<Appended | undefined> {
  const [answer] = await store.append([request])
  return answer
}

/** The lane, in the hands of a worker. */
export async function takeLane(store: ParkingStore, leaseMs: number = longMs): Promise<LaneLease> {
  const [lease] = await store.claimLanes({ pipeline, limit: 1, owner: 'worker', leaseMs })
  assert.ok(lease, 'a lane is due')
  return lease
}

export async function keysIn(store: ParkingStore, lease: LaneLease): Promise<readonly string[] | undefined> {
  return (await store.load(lease, 100))?.rows.map(({ key }) => key)
}

export async function tailOf(store: ParkingStore, lease: LaneLease): Promise<bigint> {
  const page = await store.load(lease, 1)
  assert.ok(page, 'the lane is held')
  return page.tail
}
