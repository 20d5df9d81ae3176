import type { Clock } from '../../core/clock.ts'
import { emitter } from '../../core/events.ts'
import type { Assignment, Owned } from './assignment.ts'
import type { LogSession } from './log-client.ts'

/** What the committer must know of a generation. */
export interface Epoch {
  readonly isOver: boolean
  readonly session: LogSession
}

export interface CommitterOptions<Raw, E extends Epoch> {
  readonly system: string
  readonly assigned: Assignment<Raw>
  readonly everyMs: number
  readonly clock: Clock
  /** The present generation, if there is one. */
  readonly epoch: () => E | undefined
  readonly mayCommit: (owned: Owned<Raw>, epoch: E) => boolean
  /** Told only while that generation lasts. */
  readonly failed: (error: unknown, epoch: E) => void
}

interface Moved<Raw> {
  readonly owned: Owned<Raw>
  readonly position: number
}

const committed = emitter('committed')

/** Commits what moved, one call at a time, each in the generation in which it began. */
export class Committer<Raw, E extends Epoch> {
  readonly #options: CommitterOptions<Raw, E>
  #committing: Promise<void> | undefined
  #cancel: (() => void) | undefined

  constructor(options: CommitterOptions<Raw, E>) {
    this.#options = options
  }

  /** Commits within `everyMs`. */
  soon(): void {
    this.#cancel ??= this.#options.clock.after(this.#options.everyMs, () => {
      this.#cancel = undefined
      void this.commit()
    })
  }

  stop(): void {
    this.#cancel?.()
    // Nothing is due any more.
    this.#cancel = (): void => {}
  }

  /** Never rejects. Shares a call that is under way: that one may miss the latest positions. */
  commit(): Promise<void> {
    return (this.#committing ??= this.#commitMoved().finally(() => {
      this.#committing = undefined
      // What moved meanwhile, was not allowed or was not taken: nobody else may come to commit it.
      if (this.#options.epoch() !== undefined && this.#moved().length > 0) this.soon()
    }))
  }

  #moved(): readonly Moved<Raw>[] {
    return [...this.#options.assigned.all()].flatMap((owned) => {
      const { position } = owned
      return position === undefined || position === owned.committed ? [] : [{ owned, position }]
    })
  }

  async #commitMoved(): Promise<void> {
    const { epoch: now, mayCommit, failed } = this.#options
    const epoch = now()
    if (epoch === undefined) return
    const ready = this.#moved().filter(({ owned }) => mayCommit(owned, epoch))
    if (ready.length === 0) return
    const sentMs = performance.now()
    try {
      await epoch.session.commit(
        ready.map(({ owned: { topic, partition }, position }) => ({ topic, partition, position })),
      )
      this.#tell(ready, sentMs)
      // An answer that comes after the next join must not settle what that one has to commit.
      if (!epoch.isOver) for (const { owned, position } of ready) owned.committed = position
    } catch (error) {
      this.#tell(ready, sentMs, error)
      if (!epoch.isOver) failed(error, epoch)
    }
  }

  #tell(moved: readonly { readonly owned: Owned<Raw> }[], sentMs: number, error?: unknown): void {
    if (!committed.active()) return
    const destinations = [...new Set(moved.map(({ owned }) => owned.topic))]
    const event = {
      system: this.#options.system,
      destinations,
      partitions: moved.length,
      tookMs: performance.now() - sentMs,
    }
    committed.publish(error === undefined ? event : { ...event, error })
  }
}
