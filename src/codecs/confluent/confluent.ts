import type { Decoder } from '../../core/codec.ts'
import { isHoldfastError, PermanentError } from '../../core/errors.ts'
import type { Bytes } from '../../core/message.ts'
import { callback, checkArgument, checkOptions, having, ms, required } from '../../core/options.ts'
import { publishEach } from '../../core/publish-each.ts'
import type { Outgoing, PublishMiddleware } from '../../core/publisher.ts'
import { Schemas, type RegisteredSchema, type SchemaRegistry } from './schemas.ts'
import { framed, messageIndexes, unframed } from './wire-format.ts'

/** Reads data of one schema. `indexes` tells the message type within a Protobuf schema; it is empty for others. */
export type ConfluentReader<Body> = (data: Uint8Array, indexes: readonly number[]) => Promise<Body> | Body

export interface ConfluentOptions<Body, Schema extends RegisteredSchema = RegisteredSchema> {
  readonly registry: SchemaRegistry<Schema>
  /** Makes the reader of a writer's schema, once for each schema. An error means that its messages are undecodable. */
  readonly reader: (schema: Schema) => ConfluentReader<Body>
  /** How long one question to the registry may take. @defaultValue 10,000 ms */
  readonly timeoutMs?: number
}

/**
 * Decodes Confluent's wire format: a zero byte, the schema's id, then Avro, JSON or Protobuf data. It asks the registry once
 * for each schema. It tells by the place of an error whose fault it is. Bytes that cannot be read, and ids that the registry
 * does not know, are undecodable. While the registry does not answer, messages of unknown schemas wait, and messages of known
 * schemas go on. An id that fails while the registry answers for others is given up after `maxAttempts`.
 * Source: https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/index.html#wire-format
 * @throws HoldfastError (`bad-option`) for unknown, missing or wrong options.
 */
export function confluent<Body, Schema extends RegisteredSchema = RegisteredSchema>(
  options: ConfluentOptions<Body, Schema>,
): Decoder<Body> {
  const {
    registry,
    reader,
    timeoutMs = 10_000,
  } = checkOptions('confluent', options, {
    registry: required(having('schemaOf')),
    reader: required(callback),
    timeoutMs: ms(),
  })
  const schemas = new Schemas(registry, (schema: Schema) => dataReader(schema, reader(schema)), timeoutMs)
  return {
    name: 'confluent',
    async decode(bytes) {
      const { id, data } = unframed(bytes)
      const read = await schemas.readerOf(id)
      try {
        return await read(data)
      } catch (cause) {
        if (isHoldfastError(cause)) throw cause
        throw new PermanentError(`the body does not fit schema ${id}`, { cause })
      }
    },
  }
}

function dataReader<Body>(
  { type }: RegisteredSchema,
  read: ConfluentReader<Body>,
): (data: Uint8Array) => Promise<Body> | Body {
  checkArgument('confluent', "the reader's answer", read, callback)
  if (type !== 'PROTOBUF') return (data) => read(data, [])
  return (framed) => {
    const { indexes, data } = messageIndexes(framed)
    return read(data, indexes)
  }
}

export interface PublishConfluentOptions<Body> {
  /** The registered id of the schema that a message is written with. Ask the registry once, and remember the answer. */
  readonly idOf: (message: Outgoing<Body>) => Promise<number> | number
  /** The data of a body. For Protobuf it begins with the message indexes. An error refuses this message for good. */
  readonly write: (body: Body, id: number) => Uint8Array
}

/**
 * Writes Confluent's wire format on the publish side: `publisher(wire).use(publishConfluent({ idOf, write }))`. `null` stays
 * a tombstone. A body that cannot be written is refused, and the others are published. An error of `idOf` is an outage,
 * unless it is a `PermanentError`.
 * @throws HoldfastError (`bad-option`) for unknown, missing or wrong options.
 */
export function publishConfluent<Body>(options: PublishConfluentOptions<Body>): PublishMiddleware<Body | null, Bytes> {
  const { idOf, write } = checkOptions('publishConfluent', options, {
    idOf: required(callback),
    write: required(callback),
  })
  return publishEach(async (message) => {
    const { body } = message
    if (body === null) return { ...message, body: null }
    const id = await idOf({ ...message, body })
    if (!Number.isInteger(id) || id < 0 || id > 0xffff_ffff)
      throw new PermanentError(
        `idOf answered ${String(id).slice(0, 40)} for a message of type '${message.type}', not a schema id`,
      )
    try {
      return { ...message, body: framed({ id, data: write(body, id) }) }
    } catch (cause) {
      throw new PermanentError(`a body of type '${message.type}' cannot be written with schema ${id}`, { cause })
    }
  })
}
