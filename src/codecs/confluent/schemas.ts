import { Asked } from '../../core/asked.ts'
import { PermanentError } from '../../core/errors.ts'

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

/** Makes one reader for each schema id, and asks the registry once for it. */
export class Schemas<Read, Schema extends RegisteredSchema> {
  readonly #registry: SchemaRegistry<Schema>
  readonly #reader: (schema: Schema) => Read
  readonly #asked: Asked
  readonly #readers = new Map<number, Promise<Read>>()

  constructor(registry: SchemaRegistry<Schema>, reader: (schema: Schema) => Read, timeoutMs: number) {
    this.#registry = registry
    this.#reader = reader
    this.#asked = new Asked('the schema registry', timeoutMs)
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
    const schema = await this.#asked.ask(String(id), (signal) => this.#registry.schemaOf(id, { signal }))
    if (schema === null) throw new PermanentError(`the registry knows no schema ${id}`)
    try {
      return this.#reader(schema)
    } catch (cause) {
      throw new PermanentError(`no reader for schema ${id} could be made`, { cause })
    }
  }
}
