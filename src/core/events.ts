import { channel, type Channel } from 'node:diagnostics_channel'
import type { Delivery, Outcome } from './delivery.ts'
import type { FailureReason } from './errors.ts'
import { calledSafely } from './report.ts'

/** What happens, by name. Subscribe to `holdfast:<name>` on `node:diagnostics_channel`, or with {@link subscribe}. */
export interface Events {
  /** A delivery was acked. */
  settled: { readonly delivery: Delivery; readonly outcome: Outcome }
  /** A delivery was handed back. */
  nacked: { readonly delivery: Delivery; readonly error: unknown }
  /** One run of the handler failed; `nextInMs` is `null` where it is not tried again in this delivery. */
  'attempt-failed': {
    readonly delivery: Delivery
    readonly error: unknown
    readonly attempt: number
    readonly nextInMs: number | null
  }
  /** The retry budget had no token left, so a retry became a wait. */
  'retry-refused': { readonly delivery: Delivery; readonly error: unknown }
  /** The handler was given up after it ignored its signal. */
  abandoned: { readonly delivery: Delivery; readonly afterMs: number }
  /** A key was completed before. In observe mode the handler runs all the same. */
  'duplicate-seen': { readonly delivery: Delivery; readonly suppressed: boolean }
  /** A key came again with another payload. */
  'conflict-seen': { readonly delivery: Delivery }
  /** A repeat of the outbox that came after a later message of its key. */
  'stale-seen': { readonly delivery: Delivery }
  'lease-renewed': { readonly delivery: Delivery }
  'lease-lost': { readonly delivery: Delivery }
  /** A store did not answer, or answered with an error. */
  'store-failed': { readonly store: string; readonly operation: string; readonly error: unknown }
  /**
   * A function that was given as an option threw, or answered what cannot be used. The default was taken instead.
   * `option` says which one: `retry: backoff`.
   */
  'option-failed': { readonly option: string; readonly error: unknown }
  'circuit-changed': CircuitChange
  /** A probe of a circuit came to its end. `nothing`: it proved nothing either way, and the next call is the probe. */
  'probe-settled': { readonly name: string; readonly result: 'answered' | 'failed' | 'nothing' | 'too-late' }
  /** An attempt failed while the dependency answered nobody, so it does not count. `failures` are those of its message. */
  'attempt-unproven': { readonly name: string; readonly error: unknown; readonly failures: number }
  /** The store that processes share a circuit or a limit in answers again, or does not: each decides for itself then. */
  'share-changed': { readonly name: string; readonly share: string; readonly online: boolean; readonly error?: unknown }
  /** A message came above a limit, and was handed back until its own time. */
  'limit-reached': { readonly delivery: Delivery; readonly name: string; readonly waitMs: number }
  /** Published to the dead letter, and confirmed. */
  'dead-lettered': { readonly delivery: Delivery; readonly error: unknown; readonly reason: FailureReason }
  discarded: { readonly delivery: Delivery; readonly error: unknown; readonly reason: string }
  /** The dead letter did not take a message, so the delivery is handed back. */
  'dead-letter-failed': { readonly delivery: Delivery; readonly error: unknown; readonly destination: string }
  /** A consumer told the broker how far it has come, or failed to. */
  committed: {
    readonly system: string
    readonly destinations: readonly string[]
    readonly partitions: number
    readonly tookMs: number
    readonly error?: unknown
  }
  /** A consumer joined, lost, crashed or stopped. */
  'consumer-changed': ConsumerChange
  /** A relay took a shard of the outbox, gave it back, lost it to another relay, or could go no further with it. */
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
    /** Published and confirmed: without the dead. */
    readonly messages: number
    /** Refused for good, and set aside. */
    readonly dead: number
    /** From when the oldest of them was added to when all of them were confirmed. */
    readonly lagMs: number
    readonly publishMs: number
  }
  /** There is more to publish than fits in a page: so many messages, of one shard, page after page; 0 once that is over. */
  'outbox-window': { readonly shard: number; readonly messages: number }
  /** The broker did not take a page of the outbox; it is tried again. */
  'outbox-outage': {
    readonly relay: string
    readonly shard: number
    readonly error: unknown
    readonly nextInMs: number
  }
  /** The broker refused a message for good; it is kept aside and the others go on. */
  'outbox-dead': {
    readonly relay: string
    readonly shard: number
    readonly messageId: string
    readonly destination: string
    readonly error: unknown
  }
  /** A message of the outbox expired before it was published, and is discarded. `expiredMs` is ms since 1970. */
  'outbox-expired': {
    readonly relay: string
    readonly shard: number
    readonly messageId: string
    readonly destination: string
    readonly expiredMs: number
  }
  /** From here on nothing is published or cleaned up until an operator has looked. Told once by each relay. */
  'outbox-refused': { readonly relay: string; readonly reason: string }
  /** One partition of the outbox was looked at: what is `busy` or `locked` for long deserves a look. */
  'outbox-rotated': {
    readonly relay: string
    readonly slot: number
    readonly result: 'cleaned' | 'empty' | 'busy' | 'locked'
  }
  /** A relay has stopped, and given back what it held: what it told last holds no longer. */
  'outbox-relay-ended': { readonly relay: string }
  /** How the outbox is doing, every now and then; `owned` are the shards of this relay. */
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

export type CircuitState = 'closed' | 'open' | 'half-open'

export interface CircuitChange {
  readonly name: string
  readonly from: CircuitState
  readonly to: CircuitState
  /** The tenant or whatever else `by` tells apart. @defaultValue there is one circuit for all */
  readonly group?: string
  /** Who decided: this process by what it saw, or the fleet. */
  readonly scope?: 'process' | 'fleet'
  /** The state's number in the fleet. */
  readonly epoch?: number
  /** The circuit only observes: it refused nothing. */
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

/** A typed handle on one channel. Ask `active()` first: without a subscriber nothing is built and nothing is called. */
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
 * Calls back on every event of a name; the returned function ends that. What a listener throws never reaches a message
 * and never ends the process: it becomes a process warning.
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
