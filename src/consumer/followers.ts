import type { Pipeline } from '../core/pipeline.ts'

/** Most tasks that start together. */
export const mostFollowers = 32

/** A task in its lane, as far as it matters here. */
interface Chained<Task> {
  readonly index: number
  behind: Task | undefined
  last: Task | undefined
}

/**
 * Tasks of one key that were started together, since the one before them was parked: each ends behind it, or counts as not
 * started. They end as one, in their order.
 */
export class Followers<Task extends Chained<Task>> {
  readonly tasks: readonly Task[]
  readonly #done = new Set<Task>()
  #open: number

  constructor(tasks: readonly Task[]) {
    this.tasks = tasks
    this.#open = tasks.length
  }

  get done(): ReadonlySet<Task> {
    return this.#done
  }

  /** One of them has ended. Says whether it was the last. */
  ended(task: Task, isDone: boolean): boolean {
    if (isDone) this.#done.add(task)
    return --this.#open === 0
  }

  /** Takes what is done out of the lane. Gives the task that stands for the lane now. */
  unlink(): Task | undefined {
    const [first] = this.tasks
    const rest = this.tasks.at(-1)?.behind
    const left = this.tasks.filter((task) => !this.#done.has(task))
    const end = rest === undefined ? left.at(-1) : first?.last
    left.forEach((task, at) => (task.behind = left[at + 1] ?? rest))
    const head = left[0] ?? rest
    // What is old and done must not keep what is young alive.
    for (const task of this.#done) task.behind = task.last = undefined
    if (head !== undefined) head.last = head === end ? undefined : end
    return head
  }
}

/** Gathers the tasks that may start with this one. `undefined`: it starts alone. */
export function gather<Task extends Chained<Task>>(
  first: Task,
  most: number,
  lastAllowed: number,
): Followers<Task> | undefined {
  const tasks: Task[] = []
  for (let task: Task | undefined = first; task !== undefined && tasks.length < most; task = task.behind) {
    if (task.index > lastAllowed) break
    tasks.push(task)
  }
  return tasks.length < 2 ? undefined : new Followers(tasks)
}

// Each looks at one message, and does nothing that another message of the key must wait for.
const watching = new Set(['tracing', 'metrics', 'dead-letter', 'parking', 'decode', 'decrypt', 'flow', 'replay'])

/** Whether the pipeline may be given several messages of a parked key at once. Its own stages must not mind. */
export function takesFollowers({ stages }: Pipeline): boolean {
  const claims = stages.findIndex(({ name }) => name === 'idempotency')
  return (
    stages.some(({ parking }) => parking?.ordered === true) &&
    stages.slice(0, claims).every(({ name }) => watching.has(name))
  )
}
