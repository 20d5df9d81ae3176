import { asError } from '../../core/as-error.ts'
import { reasonOf } from './errors.ts'

/** A broker by its number, a topic by its name; `undefined` stands for finding out where the partitions are. */
type Where = number | string | undefined

/** Why something cannot be fetched now. */
export class FetchTroubles {
  readonly #began: (error: Error) => void
  readonly #ended: () => void
  readonly #troubles = new Map<Where, Error>()
  /** Brokers whose latest answer refused a partition, and topics that they told nothing of. */
  readonly #refusing = new Set<Where>()

  constructor(began: (error: Error) => void, ended: () => void) {
    this.#began = began
    this.#ended = ended
  }

  began(where: Where, error: unknown): void {
    const isNew = !this.#troubles.has(where)
    this.#troubles.set(where, asError(error))
    if (isNew) this.#began(asError(error))
  }

  /** A leader that moved is found at the next try. What is refused again is a trouble. */
  refused(where: Where, because: string): void {
    if (this.#refusing.has(where)) this.began(where, new Error(because))
    this.#refusing.add(where)
  }

  over(where: Where): void {
    this.#refusing.delete(where)
    if (this.#troubles.delete(where)) this.#ended()
  }

  get problem(): string | undefined {
    const [first] = this.#troubles
    if (first === undefined) return undefined
    const [where, error] = first
    return `messages cannot be fetched${from(where)}: ${reasonOf(error)}`
  }
}

function from(where: Where): string {
  if (where === undefined) return ''
  return typeof where === 'number' ? ` from broker ${where}` : ` from topic '${where}'`
}
