import type { Place, Position } from './coordinator.ts'

export interface GroupSettings {
  readonly groupId: string
  readonly topics: readonly string[]
  readonly sessionMs: number
  readonly rebalanceMs: number
  readonly heartbeatMs: number
}

/** What a membership tells the consumer. */
export interface GroupHost {
  /** Awaited before partitions are handed back: what was started there is finished and committed. Never rejects. */
  finish(why: 'join' | 'revoke', revoked: readonly Place[]): Promise<void>
  /** What is owned from now on. Resolves when it is known where to begin. */
  joined(member: string, owned: readonly Place[]): Promise<void>
  heard(): void
  /** The group waits for this member. */
  rebalancing(): void
  lost(error: Error): void
  /** The topic of that name is another one now. */
  madeAnew(topic: string): void
  /** `over`: it ends for good. Otherwise it is tried again. */
  failed(error: Error, over: boolean): void
}

/** A membership of a consumer group, from `begin` to `leave`. */
export interface Group {
  begin(): void
  /** Rejects where the present epoch may not commit. */
  commit(positions: readonly Position[]): Promise<void>
  leave(): Promise<void>
}
