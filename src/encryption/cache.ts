import { keepAtMost } from '../core/bounded.ts'
import { systemClock, type Clock } from '../core/clock.ts'

/** The most that are kept. Ids of keys come out of headers, so their number must have a bound. */
const most = 1000

interface Kept<Answer> {
  readonly answer: Promise<Answer>
  readonly untilMs: number
  given: Answer | undefined
}

/** Asks once for each name, and keeps the answer for a time. A failed question is asked again by the next one. */
export class Cache<Answer> {
  readonly #keepMs: number
  readonly #clock: Clock
  readonly #kept = new Map<string, Kept<Answer>>()

  constructor(keepMs: number, clock: Clock = systemClock) {
    this.#keepMs = keepMs
    this.#clock = clock
  }

  /** The answer, if it is here: without a turn of the event loop. */
  known(name: string): Answer | undefined {
    const found = this.#kept.get(name)
    return found !== undefined && found.untilMs > this.#clock.now() ? found.given : undefined
  }

  /** @param lasts whether an answer may be kept */
  get(name: string, ask: () => Promise<Answer>, lasts: (answer: Answer) => boolean = () => true): Promise<Answer> {
    const now = this.#clock.now()
    const found = this.#kept.get(name)
    if (found !== undefined && found.untilMs > now) return found.answer
    const answer = ask()
    this.#kept.delete(name)
    const kept: Kept<Answer> = { answer, untilMs: now + this.#keepMs, given: undefined }
    this.#kept.set(name, kept)
    keepAtMost(most, this.#kept)
    const forget = (): void => {
      if (this.#kept.get(name)?.answer === answer) this.#kept.delete(name)
    }
    answer.then((given) => {
      if (lasts(given)) kept.given = given
      else forget()
    }, forget)
    return answer
  }
}
