import { keepAtMost } from './bounded.ts'
import { HoldfastError, isPermanent, isRetryLater, RetryLater, textOf } from './errors.ts'
import { untilAborted } from './signals.ts'

const waitMs = 1000
/** How many names may be known to have failed. What is forgotten is counted from the start again. */
const mostFailing = 1000

/**
 * Asks a server, such as a schema registry, about names that come out of messages. It bounds the time of a question. When
 * there is no answer it tells whose fault that is. If the server answers nobody, messages wait. If it answers for other names,
 * the name is at fault: a forged one must not make all messages wait.
 */
export class Asked {
  readonly #server: string
  readonly #timeoutMs: number
  /** For each name that failed: how often the server had answered then. */
  readonly #failing = new Map<string, number>()
  #answers = 0

  constructor(server: string, timeoutMs: number) {
    this.#server = server
    this.#timeoutMs = timeoutMs
  }

  async ask<Answer>(name: string, question: (signal: AbortSignal) => Promise<Answer>): Promise<Answer> {
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(this.#tooLate()), this.#timeoutMs)
    try {
      const answer = await untilAborted(late.signal, question(late.signal))
      this.#answers += 1
      this.#failing.delete(name)
      return answer
    } catch (error) {
      if (isPermanent(error) || isRetryLater(error)) throw error
      throw this.#failed(name, error)
    } finally {
      clearTimeout(timer)
    }
  }

  #failed(name: string, cause: unknown): Error {
    const because = `${this.#server} did not answer for '${name.slice(0, 80)}'`
    const answersThen = this.#failing.get(name)
    // Without the cause, which may speak of an outage.
    if (answersThen !== undefined && answersThen < this.#answers)
      return new Error(`${because}, and did for others: ${textOf(cause).errorMessage}`)
    if (answersThen === undefined) this.#failing.set(name, this.#answers)
    keepAtMost(mostFailing, this.#failing)
    // What was answered is known: the messages that need nothing else go on.
    return new RetryLater(waitMs, { holds: this.#answers > 0 ? 'message' : 'pipeline', because, cause })
  }

  #tooLate(): HoldfastError {
    return new HoldfastError('timed-out', `${this.#server} did not answer within ${this.#timeoutMs} ms`)
  }
}
