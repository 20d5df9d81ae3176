/** A place for one running task, with its two continuations made once. */
interface Slot<Task> {
  task: Task | undefined
  readonly succeeded: () => void
  readonly failed: (error: unknown) => void
}

/** Calls back when the work of a task ends, without new functions for each task. */
export class Slots<Task> {
  readonly #free: Slot<Task>[] = []
  readonly #onSuccess: (task: Task) => void
  readonly #onFailure: (task: Task, error: unknown) => void

  constructor(onSuccess: (task: Task) => void, onFailure: (task: Task, error: unknown) => void) {
    this.#onSuccess = onSuccess
    this.#onFailure = onFailure
  }

  watch(task: Task, work: Promise<unknown>): void {
    const slot = this.#free.pop() ?? this.#make()
    slot.task = task
    work.then(slot.succeeded, slot.failed)
  }

  #make(): Slot<Task> {
    const slot: Slot<Task> = {
      task: undefined,
      succeeded: () => {
        const task = this.#leave(slot)
        if (task !== undefined) this.#onSuccess(task)
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
