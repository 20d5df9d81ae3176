import type { Following } from '../core/parking.ts'

interface Work {
  readonly item: unknown
  readonly key: string | null
  readonly attempt: number
  readonly following: Following | undefined
}

type WorkOn<Task extends Work> = (
  item: Task['item'],
  key: string | null,
  attempt: number,
  following: Following | undefined,
) => Promise<unknown>

/** A place for one running task, with its two continuations made once. */
interface Slot<Task> {
  task: Task | undefined
  readonly succeeded: (outcome: unknown) => void
  readonly failed: (error: unknown) => void
}

/** Runs tasks and calls back when each ends, without new functions for each task. */
export class Slots<Task extends Work> {
  readonly #free: Slot<Task>[] = []
  readonly #work: WorkOn<Task>
  readonly #onSuccess: (task: Task, outcome: unknown) => void
  readonly #onFailure: (task: Task, error: unknown) => void

  constructor(
    work: WorkOn<Task>,
    onSuccess: (task: Task, outcome: unknown) => void,
    onFailure: (task: Task, error: unknown) => void,
  ) {
    this.#work = work
    this.#onSuccess = onSuccess
    this.#onFailure = onFailure
  }

  run(task: Task): void {
    const slot = this.#free.pop() ?? this.#make()
    slot.task = task
    this.#begin(task).then(slot.succeeded, slot.failed)
  }

  #begin(task: Task): Promise<unknown> {
    try {
      return this.#work(task.item, task.key, task.attempt, task.following)
    } catch (error) {
      return Promise.reject(error)
    }
  }

  #make(): Slot<Task> {
    const slot: Slot<Task> = {
      task: undefined,
      succeeded: (outcome) => {
        const task = this.#leave(slot)
        if (task !== undefined) this.#onSuccess(task, outcome)
      },
      failed: (error) => {
        const task = this.#leave(slot)
        if (task !== undefined) this.#onFailure(task, error)
      },
    }
    return slot
  }

  #leave(slot: Slot<Task>): Task | undefined {
    const { task } = slot
    slot.task = undefined
    this.#free.push(slot)
    return task
  }
}
