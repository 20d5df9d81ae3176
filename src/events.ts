import { channel, type Channel } from 'node:diagnostics_channel'
import type { Delivery, Outcome } from './delivery.ts'
import type { FailureReason } from './errors.ts'

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
  'lease-renewed': { readonly delivery: Delivery }
  'lease-lost': { readonly delivery: Delivery }
  /** A store did not answer, or answered with an error. */
  'store-failed': { readonly store: string; readonly operation: string; readonly error: unknown }
  'circuit-changed': { readonly name: string; readonly from: CircuitState; readonly to: CircuitState }
  /** Published to the dead letter, and confirmed. */
  'dead-lettered': { readonly delivery: Delivery; readonly error: unknown; readonly reason: FailureReason }
  discarded: { readonly delivery: Delivery; readonly error: unknown; readonly reason: string }
  /** The dead letter did not take a message, so the delivery is handed back. */
  'dead-letter-failed': { readonly delivery: Delivery; readonly error: unknown }
  /** A consumer joined, lost, crashed or stopped. */
  'consumer-changed': ConsumerChange
}

export type CircuitState = 'closed' | 'open' | 'half-open'

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

/** Calls back on every event of a name; the returned function ends that. What a listener throws never reaches a message. */
export function subscribe<Name extends EventName>(name: Name, listener: (event: Events[Name]) => void): () => void {
  // The channel is process-wide and untyped; only `emitter` above writes to it.
  const target: Channel = channel(channelName(name))
  const receive = (event: unknown): void => listener(event as Events[Name])
  target.subscribe(receive)
  return () => {
    target.unsubscribe(receive)
  }
}

function channelName(name: EventName): string {
  return `holdfast:${name}`
}
