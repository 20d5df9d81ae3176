import type { EachBatchPayload, Offsets } from 'kafkajs'
import { emitter } from '../../core/events.ts'
import { positionOf, type Assignment, type Owned } from './assignment.ts'

export interface Committer {
  /** Commits what moved, one call at a time. Never rejects. */
  commit(): Promise<void>
}

const committed = emitter('committed')

/** Commits positions through what `api` gives: the payload of the present run, whose commit works while it stops too. */
export function committer(
  assigned: Assignment,
  api: () => EachBatchPayload | undefined,
  mayCommit: (owned: Owned) => boolean,
  failed: (error: unknown) => void,
): Committer {
  let committing: Promise<void> | undefined

  async function commitMoved(): Promise<void> {
    // Between a new offset manager and GROUP_JOIN there are only microtasks: a stale position never meets a new generation.
    await new Promise((resolve) => setImmediate(resolve))
    const payload = api()
    const moved = [...assigned.all()].flatMap((owned) => {
      const position = positionOf(owned)
      return position === undefined || position === owned.committed || !mayCommit(owned) ? [] : [{ owned, position }]
    })
    if (payload === undefined || moved.length === 0) return
    const { epoch } = assigned
    const sentMs = performance.now()
    const tell = (error?: unknown): void => {
      if (!committed.active()) return
      const destinations = [...new Set(moved.map(({ owned }) => owned.topic))]
      const tookMs = performance.now() - sentMs
      const event = { system: 'kafka', destinations, partitions: moved.length, tookMs }
      committed.publish(error === undefined ? event : { ...event, error })
    }
    try {
      await payload.commitOffsetsIfNecessary(offsetsOf(moved))
      tell()
      // An answer that comes after the next join must not settle what that one has to commit.
      if (assigned.epoch === epoch) for (const { owned, position } of moved) owned.committed = position
    } catch (error) {
      tell(error)
      failed(error)
    }
  }

  return {
    commit: () =>
      (committing ??= commitMoved().finally(() => {
        committing = undefined
      })),
  }
}

function offsetsOf(moved: readonly { readonly owned: Owned; readonly position: number }[]): Offsets {
  const topics = new Map<string, { partition: number; offset: string }[]>()
  for (const { owned, position } of moved) {
    const offsets = topics.get(owned.topic) ?? []
    offsets.push({ partition: owned.partition, offset: String(position) })
    topics.set(owned.topic, offsets)
  }
  return { topics: [...topics].map(([topic, partitions]) => ({ topic, partitions })) }
}
