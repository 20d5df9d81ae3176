import { HoldfastError, isPermanent, isRetryLater, PermanentError, RetryLater, textOf } from '../../core/errors.ts'
import { untilAborted } from '../../core/signals.ts'

/** A schema as a registry keeps it. Your registry may add more, such as references: your reader gets the same object. */
export interface RegisteredSchema {
  /** `AVRO`, `JSON` or `PROTOBUF`. */
  readonly type: string
  readonly schema: string
}

/** The one question that is asked of a schema registry. */
export interface SchemaRegistry<Schema extends RegisteredSchema = RegisteredSchema> {
  /**
   * Resolves with `null` if the registry knows no such id. Then the message is undecodable.
   * Rejects if the registry cannot answer: messages of unknown schemas wait, and nothing is dead-lettered.
   * The signal aborts after `timeoutMs`.
   */
  schemaOf(id: number, options: { readonly signal: AbortSignal }): Promise<Schema | null>
}

const waitMs = 1000
/** How many ids may be known to have failed. What is forgotten is counted from the start again. */
const mostFailing = 1000

/** Makes one reader for each schema id, asks the registry once for it, and says whose fault it is when there is none. */
export class Schemas<Read, Schema extends RegisteredSchema> {
  readonly #registry: SchemaRegistry<Schema>
  readonly #reader: (schema: Schema) => Read
  readonly #timeoutMs: number
  readonly #readers = new Map<number, Promise<Read>>()
  /** For each id that failed: how often the registry had answered then. */
  readonly #failing = new Map<number, number>()
  #answers = 0

  constructor(registry: SchemaRegistry<Schema>, reader: (schema: Schema) => Read, timeoutMs: number) {
    this.#registry = registry
    this.#reader = reader
    this.#timeoutMs = timeoutMs
  }

  /** The reader of a schema. What fails is asked for again by the next message. */
  readerOf(id: number): Promise<Read> {
    const known = this.#readers.get(id)
    if (known !== undefined) return known
    const made = this.#make(id)
    this.#readers.set(id, made)
    made.catch(() => this.#readers.delete(id))
    return made
  }

  async #make(id: number): Promise<Read> {
    const schema = await this.#ask(id)
    this.#answers += 1
    this.#failing.delete(id)
    if (schema === null) throw new PermanentError(`the registry knows no schema ${id}`)
    try {
      return this.#reader(schema)
    } catch (error) {
      throw new PermanentError(`no reader for schema ${id} could be made`, { cause: error })
    }
  }

  async #ask(id: number): Promise<Schema | null> {
    const late = new AbortController()
    const timer = setTimeout(() => late.abort(tooLate(this.#timeoutMs)), this.#timeoutMs)
    try {
      return await untilAborted(late.signal, this.#registry.schemaOf(id, { signal: late.signal }))
    } catch (error) {
      if (isPermanent(error) || isRetryLater(error)) throw error
      throw this.#failed(id, error)
    } finally {
      clearTimeout(timer)
    }
  }

  #failed(id: number, cause: unknown): Error {
    const because = `the schema registry did not give schema ${id}`
    const answersThen = this.#failing.get(id)
    // It has answered for other schemas since: this id is the trouble. Without a cause that could speak of an outage.
    if (answersThen !== undefined && answersThen < this.#answers)
      return new Error(`${because}, and did give others: ${textOf(cause).errorMessage}`)
    if (answersThen === undefined) this.#failing.set(id, this.#answers)
    const [oldest] = this.#failing.keys()
    if (this.#failing.size > mostFailing && oldest !== undefined) this.#failing.delete(oldest)
    // Messages whose schema is known go on. Where none is, none could.
    return new RetryLater(waitMs, { holds: this.#answers > 0 ? 'message' : 'pipeline', because, cause })
  }
}

function tooLate(timeoutMs: number): HoldfastError {
  return new HoldfastError('timed-out', `no answer within ${timeoutMs} ms`)
}
