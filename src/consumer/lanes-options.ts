import type { Clock } from '../core/clock.ts'
import type { Following } from '../core/parking.ts'
import type { LaneTrack, TrackOptions } from './track.ts'

export interface LanesOptions<Item> {
  /** How many items run at once, over all tracks. */
  readonly concurrency: number
  /** How far past the oldest unfinished item of its track one may be started: bounds what a drain has to run. */
  readonly ahead: number
  /** The first wait after a failure that does not say when; doubled every time, at most 30 s. */
  readonly redeliverMs: number
  readonly clock: Clock
  /** The part of the starts that tracks which give way get in any case. @defaultValue nothing has priority */
  readonly floor?: number | undefined
  /** Runs one item. A rejection holds its lane, and the item runs again. */
  readonly run: (item: Item, key: string | null, attempt: number, following?: Following) => Promise<unknown>
  /**
   * Whether that end of an item says that those behind it need not be run in turn, but only be put behind it. Then several
   * start together, each told so. One that rejects counts as not started. @defaultValue never
   */
  readonly putsAway?: ((outcome: unknown) => boolean) | undefined
  /** Told of every rejection; gives the attempt that the next run is. */
  readonly onNack: (item: Item, error: unknown, attempt: number) => number
  /** An item held the pipeline several times while others got through. From now on it holds its own lane only. */
  readonly onHoldsAlone?: (item: Item, error: unknown) => void
}

/** Runs items of many tracks at once: those of one key in order and one at a time, all others in parallel. */
export interface Lanes<Item> {
  /** Starts a track: one ownership of one partition, queue or link. */
  open(options?: TrackOptions<Item>): LaneTrack<Item>
  /** An item without a key is in order with nothing. */
  add(track: LaneTrack<Item>, key: string | null, item: Item): void
  /**
   * Forgets the items that have not started, and returns them in the order of arrival. Running items go on; `onDone` is not
   * called for them.
   */
  close(track: LaneTrack<Item>): readonly Item[]
  /**
   * Starts only items that lie before a started one, in one track or in all of them. In a track without positions it starts
   * nothing. Resolves when no such item can go on. It does not wait for a held item.
   */
  drain(track?: LaneTrack<Item>): Promise<void>
  /** Ends a drain, of one track or of all of them. */
  resume(track?: LaneTrack<Item>): void
  /** For the end of a process: no item that was nacked runs again. */
  quit(): void
  /** Items started and not settled, those of closed tracks included. */
  readonly inFlight: number
  /** Items added and not passed by their watermark, of open tracks. */
  readonly buffered: number
  /** Whether all lanes wait for a probe, because an item holds the pipeline. */
  readonly halted: boolean
  /** The error of that item. */
  readonly haltedBy: unknown
}
