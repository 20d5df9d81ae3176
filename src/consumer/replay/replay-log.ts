/** One partition as it stands. */
export interface LogState {
  /** As in reports and in `from`: `orders/0` of Kafka, `0` of NATS. */
  readonly name: string
  /** The first position that the log still has. */
  readonly low: number
  /** The position behind its last message. */
  readonly high: number
  /** The first position that the group has not done; `undefined` where it never began. */
  readonly stands: number | undefined
}

/** What a transport must offer for {@link replay}: an admin's view of one group. */
export interface ReplayLog {
  readonly system: string
  readonly group: string
  /** Who runs in the group now, as an operator knows them. */
  members(): Promise<readonly string[]>
  states(): Promise<readonly LogState[]>
  /** By partition the position of its first message of that time or later; its end where there is none. */
  positionsAt(timeMs: number): Promise<ReadonlyMap<string, number>>
  /** How many messages stand from one position up to another. @defaultValue the difference of the positions */
  count?(name: string, from: number, to: number): Promise<number>
  /** Moves the group to these positions. Must reject, and change nothing, where a member joined meanwhile. */
  move(positions: ReadonlyMap<string, number>): Promise<void>
  /** Closes what it opened. */
  close(): Promise<void>
}
