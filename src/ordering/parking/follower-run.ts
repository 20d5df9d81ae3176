import { claimName } from '../../core/stored-key.ts'
import type { Appended, AppendRequest, ParkingStore } from './store.ts'

interface Waiting {
  readonly request: AppendRequest
  readonly tell: (answer: Appended) => void
}

/**
 * Messages of one key that were started together, on their way into its lane: in their order, and in one call as many as
 * have come by then. From the first on that does not get there, none does.
 */
export class FollowerRun {
  readonly #store: Pick<ParkingStore, 'append'>
  readonly #waiting: Waiting[] = []
  #next = 0
  #isSending = false
  #isOver = false

  constructor(store: Pick<ParkingStore, 'append'>) {
    this.#store = store
  }

  append(place: number, request: AppendRequest): Promise<Appended> {
    // An earlier one is not here: it may never come, and nothing may pass it.
    if (place !== this.#next) this.#isOver = true
    if (this.#isOver) return Promise.resolve('again')
    this.#next++
    return new Promise((tell) => {
      this.#waiting.push({ request, tell })
      if (!this.#isSending) void this.#send()
    })
  }

  async #send(): Promise<void> {
    this.#isSending = true
    // Those that were started with it come in this turn.
    await Promise.resolve()
    while (this.#waiting.length > 0) {
      const sent = this.#waiting.splice(0, lengthWithoutRepeat(this.#waiting))
      const answers = this.#isOver ? [] : await this.#answers(sent)
      sent.forEach(({ tell }, at) => {
        const answer = answers[at] ?? 'again'
        this.#isOver ||= answer === 'again' || answer === 'full'
        tell(answer)
      })
    }
    this.#isSending = false
  }

  /** What went wrong shows again where each is asked for alone, and is told there. */
  #answers(sent: readonly Waiting[]): Promise<readonly Appended[]> {
    return this.#store.append(sent.map(({ request }) => request)).catch(() => [])
  }
}

/** A repeat of a message is asked for when the first one has its answer. */
function lengthWithoutRepeat(waiting: readonly Waiting[]): number {
  const seen = new Set<string>()
  for (const { request } of waiting) {
    const name = claimName(request)
    if (seen.has(name)) break
    seen.add(name)
  }
  return seen.size
}
