import { channel, type Channel } from 'node:diagnostics_channel'
import type { Delivery, Outcome } from './delivery.ts'
import type { FailureReason } from './errors.ts'
import { calledSafely } from './report.ts'

/** All events by name. Subscribe with {@link subscribe}, or to `holdfast:<name>` on `node:diagnostics_channel`. */
export interface Events {
  /** A delivery was acked. */
  settled: { readonly delivery: Delivery; readonly outcome: Outcome }
  /** A delivery was nacked. */
  nacked: { readonly delivery: Delivery; readonly error: unknown }
  /** One attempt failed. `nextInMs` is the wait before the next one; `null` if this delivery does not retry. */
  'attempt-failed': {
    readonly delivery: Delivery
    readonly error: unknown
    readonly attempt: number
    readonly nextInMs: number | null
  }
  /** The retry budget had no token left: the message is nacked and waits for its token. */
  'retry-refused': { readonly delivery: Delivery; readonly error: unknown }
  /** A handler ignored its aborted signal and was given up. */
  abandoned: { readonly delivery: Delivery; readonly afterMs: number }
  /** The message's key was completed before. In observe mode the handler still runs. */
  'duplicate-seen': { readonly delivery: Delivery; readonly suppressed: boolean }
  /** A known key arrived with another payload. */
  'conflict-seen': { readonly delivery: Delivery }
  /** The outbox sent a message again, and a later message of its key had been handled before. */
  'stale-seen': { readonly delivery: Delivery }
  'lease-renewed': { readonly delivery: Delivery }
  'lease-lost': { readonly delivery: Delivery }
  /** A store call failed or timed out. */
  'store-failed': { readonly store: string; readonly operation: string; readonly error: unknown }
  /**
   * A function given as an option threw or returned an unusable value. The default was used instead.
   * `option` names it: `retry: backoff`.
   */
  'option-failed': { readonly option: string; readonly error: unknown }
  'circuit-changed': CircuitChange
  /** A probe of a circuit ended. `nothing`: it proved nothing, and the next call is the probe. */
  'probe-settled': { readonly name: string; readonly result: 'answered' | 'failed' | 'nothing' | 'too-late' }
  /** An attempt failed while the dependency answered no message, so it does not count. `failures` counts its message's own. */
  'attempt-unproven': { readonly name: string; readonly error: unknown; readonly failures: number }
  /** The store of a shared circuit or limit went offline or came back. While it is offline each process decides alone. */
  'share-changed': { readonly name: string; readonly share: string; readonly online: boolean; readonly error?: unknown }
  /** A message was above a rate limit, or above the places of its group, and was nacked for `waitMs`. */
  'limit-reached': {
    readonly delivery: Delivery
    readonly name: string
    readonly waitMs: number
    /** The group that `by` of a bulkhead returned. */
    readonly group?: string
  }
  /** A message is about to be parked or appended. What a listener puts into `carried` travels with it, and is in `delivery.parked` later. */
  parking: { readonly delivery: Delivery; readonly carried: Record<string, string> }
  /** A message waits outside the transport from now on, and its key with it. `afterMs` is `null` if its key is blocked. */
  parked: {
    readonly delivery: Delivery
    readonly lane: string
    readonly afterMs: number | null
    readonly error: unknown
  }
  /** A message was put behind the parked one of its key. */
  appended: { readonly delivery: Delivery; readonly lane: string }
  /** The lane has as many messages as it may have, or the pipeline as many lanes: the message waits in the transport. */
  'parking-full': { readonly delivery: Delivery; readonly lane: string; readonly full: 'lane' | 'lanes' }
  /** A parking worker freed a lane, blocked it, or lost it to another worker. `key` is cut for reading. */
  'lane-changed': LaneChange
  /** A parked message has waited for longer than `maxAgeMs`. */
  'parked-too-old': {
    readonly delivery: Delivery
    readonly waitedMs: number
    readonly action: 'dead-letter' | 'alert' | 'block'
  }
  /** What is parked of a pipeline, told regularly by each worker. */
  'parking-status': {
    readonly worker: string
    readonly pipeline: string
    readonly lanes: number
    readonly rows: number
    readonly blocked: number
    readonly oldestAgeMs: number | null
  }
  /** A parking worker stopped. Its last `parking-status` is void. */
  'parking-worker-ended': { readonly worker: string }
  /** A message was published to the dead letter and confirmed. */
  'dead-lettered': { readonly delivery: Delivery; readonly error: unknown; readonly reason: FailureReason }
  discarded: { readonly delivery: Delivery; readonly error: unknown; readonly reason: string }
  /** The dead-letter publish failed, so the delivery is nacked. */
  'dead-letter-failed': { readonly delivery: Delivery; readonly error: unknown; readonly destination: string }
  /** A consumer committed its offsets, or the commit failed. */
  committed: {
    readonly system: string
    readonly destinations: readonly string[]
    readonly partitions: number
    readonly tookMs: number
    readonly error?: unknown
  }
  /** A consumer joined its group, lost partitions, crashed or stopped. */
  'consumer-changed': ConsumerChange
  /** A relay took a shard of the outbox, released it, lost it to another relay, or failed on it. */
  'outbox-shard-changed': {
    readonly relay: string
    readonly shard: number
    readonly epoch: bigint
    readonly change: 'claimed' | 'released' | 'lost' | 'failed'
    readonly error?: unknown
  }
  /** One page of the outbox was published, confirmed and settled. */
  'outbox-published': {
    readonly relay: string
    readonly shard: number
    /** Messages published and confirmed. Does not include `dead`. */
    readonly messages: number
    /** Messages that the broker refused for good. They are set aside. */
    readonly dead: number
    /** Ms from adding the oldest message to confirming all of them. */
    readonly lagMs: number
    readonly publishMs: number
  }
  /** One shard has more messages than fit in a page, and publishes page after page. `messages` is how many; 0 at the end. */
  'outbox-window': { readonly shard: number; readonly messages: number }
  /** Publishing a page of the outbox failed. The relay publishes it again. */
  'outbox-outage': {
    readonly relay: string
    readonly shard: number
    readonly error: unknown
    readonly nextInMs: number
  }
  /** The broker refused a message for good. The message is set aside; the others go on. */
  'outbox-dead': {
    readonly relay: string
    readonly shard: number
    readonly messageId: string
    readonly destination: string
    readonly error: unknown
  }
  /** A message of the outbox expired before it was published, and was discarded. `expiredMs` is in ms since 1970. */
  'outbox-expired': {
    readonly relay: string
    readonly shard: number
    readonly messageId: string
    readonly destination: string
    readonly expiredMs: number
  }
  /** The relay stopped publishing and cleaning up until an operator acts. Each relay sends this once. */
  'outbox-refused': { readonly relay: string; readonly reason: string }
  /** The relay checked one partition of the outbox. If it stays `busy` or `locked`, look for a long transaction. */
  'outbox-rotated': {
    readonly relay: string
    readonly slot: number
    readonly result: 'cleaned' | 'empty' | 'busy' | 'locked'
  }
  /** A relay stopped and released its shards. Its last `outbox-status` is void. */
  'outbox-relay-ended': { readonly relay: string }
  /** The state of the outbox, sent regularly. `owned` are this relay's shards. */
  'outbox-status': {
    readonly relay: string
    readonly owned: readonly number[]
    readonly pending: number
    readonly oldestAgeMs: number | null
    readonly delayed: number
    readonly dead: number
    /** Shards that no relay holds. */
    readonly unheld: number
  }
}

export interface LaneChange {
  readonly pipeline: string
  readonly lane: string
  readonly change: 'freed' | 'blocked' | 'lost'
  readonly key: string
}

export type CircuitState = 'closed' | 'open' | 'half-open'

export interface CircuitChange {
  readonly name: string
  readonly from: CircuitState
  readonly to: CircuitState
  /** The tenant, or the group that `by` returned. @defaultValue there is one circuit for all */
  readonly group?: string
  /** Who decided: this process alone, or the fleet. */
  readonly scope?: 'process' | 'fleet'
  /** The number of this state in the fleet. It only grows. */
  readonly epoch?: number
  /** True if the circuit only observes and refuses nothing. */
  readonly observed?: boolean
}

export interface ConsumerChange {
  readonly system: string
  readonly group: string
  readonly change: string
  readonly detail?: Readonly<Record<string, unknown>>
  readonly error?: unknown
}

export type EventName = keyof Events

/** A typed handle on one channel. Check `active()` before building the event, to skip that work without subscribers. */
export interface Emitter<Name extends EventName> {
  active(): boolean
  publish(event: Events[Name]): void
}

export function emitter<Name extends EventName>(name: Name): Emitter<Name> {
  const target: Channel = channel(channelName(name))
  return {
    active: () => target.hasSubscribers,
    publish: (event) => target.publish(event),
  }
}

/**
 * Calls the listener on every event of that name. The returned function unsubscribes. If the listener throws, a process
 * warning reports it; no message fails and the process goes on.
 */
export function subscribe<Name extends EventName>(name: Name, listener: (event: Events[Name]) => void): () => void {
  // The channel is process-wide and untyped; only `emitter` above writes to it.
  const target: Channel = channel(channelName(name))
  const receive = (event: unknown): void =>
    calledSafely(`a listener of holdfast:${name}`, listener, undefined, event as Events[Name])
  target.subscribe(receive)
  return () => {
    target.unsubscribe(receive)
  }
}

function channelName(name: EventName): string {
  return `holdfast:${name}`
}
