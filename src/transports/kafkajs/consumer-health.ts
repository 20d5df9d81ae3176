import type { Health } from '../../core/health.ts'
import type { Lanes } from '../../consumer/lanes.ts'
import { positionOf, sizeOf, type Assignment, type Item, type Owned } from './assignment.ts'

export interface ConsumerState {
  readonly joined: boolean
  readonly crashed: Error | undefined
  readonly silent: boolean
  readonly stopping: boolean
}

interface HealthInput {
  readonly name: string
  readonly state: ConsumerState
  readonly assigned: Assignment
  readonly keyed: Lanes<Item>
  readonly notes: readonly string[]
  readonly hungAfterMs: number
  readonly nowMs: number
}

/** Ready while it is a member that can make progress. A key that is held is told of, and leaves it ready. */
export function consumerHealth({ name, state, assigned, keyed, notes, hungAfterMs, nowMs }: HealthInput): Health {
  const { joined, crashed, silent, stopping } = state
  const partitions = [...assigned.all()].map((owned) => partitionHealth(owned, hungAfterMs, nowMs))
  const abandoned = partitions.reduce((sum, each) => sum + each.abandoned, 0)
  const hung = partitions.filter((each) => each.hung)
  return {
    name,
    live: true,
    ready:
      joined && crashed === undefined && !silent && !stopping && !keyed.halted && abandoned === 0 && hung.length === 0,
    details: {
      joined,
      crashed: crashed?.message ?? null,
      silent,
      halted: keyed.halted,
      inFlight: keyed.inFlight,
      buffered: partitions.reduce((sum, each) => sum + each.buffered, 0),
      abandoned,
      held: partitions.reduce((sum, each) => sum + each.held, 0),
      hung: hung.length,
      partitions,
      notes,
    },
  }
}

function partitionHealth(owned: Owned, hungAfterMs: number, nowMs: number) {
  const { topic, partition, track, progress, paused } = owned
  const position = positionOf(owned)
  // Looked at whenever somebody asks: no work for every message.
  if (position !== progress.position || track.window.size === 0) Object.assign(progress, { position, sinceMs: nowMs })
  const oldestHold = Math.min(...[...track.held.values()].map(({ sinceMs }) => sinceMs))
  return {
    topic,
    partition,
    position: position ?? null,
    buffered: sizeOf(owned),
    held: track.held.size,
    heldForMs: track.held.size === 0 ? 0 : Math.round(nowMs - oldestHold),
    abandoned: track.abandoned,
    paused,
    hung: track.running > 0 && nowMs - progress.sinceMs >= hungAfterMs,
  }
}
