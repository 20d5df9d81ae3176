import type { KV } from '@nats-io/kv'
import { sleep, type Clock } from '../../core/clock.ts'

/** Who owns a partition, for the how manieth time, and what was acked without a gap before that. */
export interface Lease {
  readonly owner: string | null
  readonly epoch: number
  readonly floor: number
}

export interface Found {
  readonly lease: Lease | undefined
  /** 0 where there is no entry. */
  readonly revision: number
}

export type LeaseBucket = Pick<KV, 'get' | 'create' | 'update' | 'put' | 'keys' | 'delete'>

/**
 * The leases of a group in a KV bucket, written only by revision: of two writers one is refused.
 * A lease is over when its entry has not moved for its time on the watcher's own clock: no clocks are compared.
 */
export class Leases {
  readonly #kv: LeaseBucket
  readonly #group: string
  readonly #clock: Clock
  readonly #seen = new Map<string, { readonly revision: number; readonly sinceMs: number }>()

  constructor(kv: LeaseBucket, group: string, clock: Clock) {
    this.#kv = kv
    this.#group = group
    this.#clock = clock
  }

  async read(partition: string): Promise<Found> {
    const entry = await this.#kv.get(this.#partitionKey(partition))
    if (entry === null) return { lease: undefined, revision: 0 }
    const lease = entry.operation === 'PUT' ? entry.json<Lease>() : undefined
    return { lease, revision: entry.revision }
  }

  /** The new revision. Rejects where somebody else wrote since. */
  write(partition: string, lease: Lease, revision: number): Promise<number> {
    const key = this.#partitionKey(partition)
    const value = JSON.stringify(lease)
    return revision === 0 ? this.#kv.create(key, value) : this.#kv.update(key, value, revision)
  }

  /** For how long this process has seen the partition's entry at this revision. */
  stillMs(partition: string, revision: number): number {
    return this.#still(this.#partitionKey(partition), revision)
  }

  async beat(member: string): Promise<void> {
    await this.#kv.put(this.#memberKey(member), String(this.#clock.wall()))
  }

  async leave(member: string): Promise<void> {
    await this.#kv.delete(this.#memberKey(member))
  }

  /** How many members have beaten within `leaseMs`, this one among them. Forgets the others. */
  async countMembers(self: string, leaseMs: number): Promise<number> {
    let live = 1
    for await (const key of await this.#kv.keys(this.#memberKey('*'))) {
      if (key === this.#memberKey(self)) continue
      const entry = await this.#kv.get(key)
      if (entry === null || entry.operation !== 'PUT') continue
      if (this.#still(key, entry.revision) < leaseMs) live++
      else await this.#kv.delete(key, { previousSeq: entry.revision }).catch(() => {})
    }
    return live
  }

  /** Every entry of the group's members and leases that moves within `leaseMs`: somebody renews it. */
  async moving(leaseMs: number): Promise<readonly string[]> {
    const before = await this.#revisions()
    if (before.size === 0) return []
    await sleep(this.#clock, leaseMs)
    const after = await this.#revisions()
    return [...after].filter(([key, revision]) => before.get(key) !== revision).map(([key]) => key)
  }

  async #revisions(): Promise<ReadonlyMap<string, number>> {
    const found = new Map<string, number>()
    // One by one: servers before 2.10 list one filter only.
    for (const some of [this.#memberKey('*'), this.#partitionKey('*')])
      for await (const key of await this.#kv.keys(some)) {
        const entry = await this.#kv.get(key)
        if (entry?.operation === 'PUT') found.set(key, entry.revision)
      }
    return found
  }

  #still(key: string, revision: number): number {
    const nowMs = this.#clock.now()
    const seen = this.#seen.get(key)
    if (seen?.revision === revision) return nowMs - seen.sinceMs
    this.#seen.set(key, { revision, sinceMs: nowMs })
    return 0
  }

  #partitionKey(partition: string): string {
    return `${this.#group}.p.${partition}`
  }

  #memberKey(member: string): string {
    return `${this.#group}.m.${member}`
  }
}
