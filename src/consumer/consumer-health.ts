import { isRetryLater, textOf } from '../core/errors.ts'
import type { Health } from '../core/health.ts'
import { failuresIn } from '../core/publisher.ts'
import type { Lanes } from './lanes-options.ts'
import type { LaneTrack } from './track.ts'

/** A message that was nacked and is not done. */
export interface HeldMessage {
  readonly messageId: string
  readonly source: string
  readonly forMs: number
  readonly nacks: number
  readonly because: string
  /** Its dead letter was refused for good: it waits until somebody changes something. */
  readonly stuck: boolean
}

/** One partition, queue or link, for `health()`. */
export interface SourceInput<Item> {
  readonly name: string
  readonly track: LaneTrack<Item>
  /** Messages in memory. */
  readonly buffered: number
  /** It stands still since then, as far as anybody looked. */
  readonly stillSinceMs: number
  readonly details: Readonly<Record<string, unknown>>
}

export interface HealthInput<Item> {
  readonly name: string
  readonly lanes: Lanes<Item>
  readonly sources: readonly SourceInput<Item>[]
  readonly messageIdOf: (item: Item) => string
  readonly hungAfterMs: number
  readonly nowMs: number
  /** Why it cannot work, as the kind of consumer sees it. */
  readonly reasons: readonly string[]
  readonly details: Readonly<Record<string, unknown>>
  readonly sourcesAs: string
}

// Of those that are held longest.
const mostHeld = 10

/** Ready while it can make progress with everything that it has. `details.reasons` says why it is not. */
export function consumerHealth<Item>(input: HealthInput<Item>): Health {
  const { name, lanes, sources, hungAfterMs, nowMs, details, sourcesAs } = input
  const held = sources.flatMap((source) => heldOf(source, input)).toSorted((a, b) => b.forMs - a.forMs)
  const each = sources.map((source) => sourceHealth(source, hungAfterMs, nowMs))
  const abandoned = sum(each, (one) => one.abandoned)
  const hung = each.filter((one) => one.hung)
  const alone = sources.flatMap(({ track }) => [...track.held.values()].filter((hold) => hold.alone))
  const reasons = [
    ...input.reasons,
    ...(lanes.halted ? [`the pipeline is held: ${textOf(lanes.haltedBy).errorMessage}`] : []),
    ...(abandoned > 0 ? [`${abandoned} handlers were given up and still run`] : []),
    ...hung.map((one) => `${one.name} made no progress for ${hungAfterMs} ms while a handler runs`),
    ...(alone.length > 0
      ? [`${alone.length} messages hold the pipeline by themselves; each now waits in its lane`]
      : []),
    ...held
      .filter(({ stuck }) => stuck)
      .slice(0, 1)
      .map(({ messageId, because }) => `message ${messageId} is stuck, and its key waits behind it: ${because}`),
    ...held
      .filter(({ forMs, stuck }) => !stuck && forMs >= hungAfterMs)
      .slice(0, 1)
      .map(({ messageId, forMs, because }) => `message ${messageId} has held its key for ${forMs} ms: ${because}`),
  ]
  return {
    name,
    live: true,
    ready: reasons.length === 0,
    details: {
      ...details,
      reasons,
      halted: lanes.halted,
      inFlight: lanes.inFlight,
      buffered: sum(each, (one) => one.buffered),
      abandoned,
      held: held.length,
      heldMessages: held.slice(0, mostHeld),
      hung: hung.length,
      [sourcesAs]: each.map(({ name: _, ...rest }) => rest),
    },
  }
}

function sourceHealth<Item>(source: SourceInput<Item>, hungAfterMs: number, nowMs: number) {
  const { name, track, buffered, stillSinceMs, details } = source
  const sinceMs = Math.min(nowMs, ...[...track.held.values()].map((hold) => hold.sinceMs))
  return {
    name,
    ...details,
    buffered,
    held: track.held.size,
    heldForMs: Math.round(nowMs - sinceMs),
    abandoned: track.abandoned,
    hung: track.running > 0 && nowMs - stillSinceMs >= hungAfterMs,
  }
}

function heldOf<Item>({ name, track }: SourceInput<Item>, { messageIdOf, nowMs }: HealthInput<Item>): HeldMessage[] {
  return [...track.held].map(([{ item }, { sinceMs, nacks, error }]) => ({
    messageId: messageIdOf(item),
    source: name,
    forMs: Math.round(nowMs - sinceMs),
    nacks,
    because: textOf(error).errorMessage,
    stuck: isStuck(error),
  }))
}

/** Whether what a nack waits for was refused for good: no redelivery alone ends that. */
function isStuck(error: unknown): boolean {
  return isRetryLater(error) && (failuresIn(error.cause, 1)?.some(({ permanent }) => permanent) ?? false)
}

function sum<T>(all: readonly T[], count: (each: T) => number): number {
  return all.reduce((total, each) => total + count(each), 0)
}
