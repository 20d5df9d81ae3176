import { ProtocolError } from './errors.ts'

/** Protocol buffers, as far as Pulsar's commands need them. A field is a number and a kind; a schema is its fields by name. */
export type Kind = 'text' | 'bytes' | 'number' | 'flag' | Schema
export type Field = readonly [number: number, kind: Kind] | readonly [number: number, kind: Kind, repeated: 'repeated']
export interface Schema {
  readonly [name: string]: Field
}

type ValueOf<K> = K extends 'text'
  ? string
  : K extends 'bytes'
    ? Buffer
    : K extends 'number'
      ? number
      : K extends 'flag'
        ? boolean
        : K extends Schema
          ? Decoded<K>
          : never

export type Decoded<S extends Schema> = {
  readonly [N in keyof S]?: S[N] extends readonly [number, infer K, 'repeated']
    ? readonly ValueOf<K>[]
    : S[N] extends readonly [number, infer K]
      ? ValueOf<K> | undefined
      : never
}

const varint = 0
const fixed64 = 1
const counted = 2
const fixed32 = 5

/** Writes into a buffer that grows. */
export class Writer {
  #bytes = Buffer.allocUnsafe(256)
  #at = 0

  varint(value: number): void {
    this.#room(10)
    if (value < 0) return this.#signed(value)
    let left = value
    while (left > 127) {
      this.#bytes[this.#at++] = (left % 128) | 128
      left = Math.floor(left / 128)
    }
    this.#bytes[this.#at++] = left
  }

  bytes(value: Uint8Array): void {
    this.varint(value.length)
    this.#room(value.length)
    this.#bytes.set(value, this.#at)
    this.#at += value.length
  }

  done(): Buffer {
    return this.#bytes.subarray(0, this.#at)
  }

  #signed(value: number): void {
    let left = BigInt.asUintN(64, BigInt(value))
    while (left > 127n) {
      this.#bytes[this.#at++] = Number(left & 127n) | 128
      left >>= 7n
    }
    this.#bytes[this.#at++] = Number(left)
  }

  #room(length: number): void {
    const needed = this.#at + length
    if (needed <= this.#bytes.length) return
    const larger = Buffer.allocUnsafe(Math.max(2 * this.#bytes.length, needed))
    this.#bytes.copy(larger, 0, 0, this.#at)
    this.#bytes = larger
  }
}

export function encode<S extends Schema>(schema: S, value: Decoded<S>): Buffer {
  const writer = new Writer()
  for (const [name, [number, kind, repeated]] of Object.entries(schema)) {
    const given: unknown = value[name]
    if (given === undefined) continue
    if (repeated === undefined) writeField(writer, number, kind, given)
    else for (const one of given as readonly unknown[]) writeField(writer, number, kind, one)
  }
  return writer.done()
}

function writeField(writer: Writer, number: number, kind: Kind, value: unknown): void {
  const isCounted = kind !== 'number' && kind !== 'flag'
  writer.varint(number * 8 + (isCounted ? counted : varint))
  if (kind === 'number') writer.varint(value as number)
  else if (kind === 'flag') writer.varint(value === true ? 1 : 0)
  else if (kind === 'text') writer.bytes(Buffer.from(value as string))
  else if (kind === 'bytes') writer.bytes(value as Uint8Array)
  else writer.bytes(encode(kind, value as Decoded<Schema>))
}

type Table = readonly ({ readonly name: string; readonly kind: Kind; readonly isRepeated: boolean } | undefined)[]
const tables = new WeakMap<Schema, Table>()

function tableOf(schema: Schema): Table {
  let table = tables.get(schema)
  if (table === undefined) {
    const fields: { name: string; kind: Kind; isRepeated: boolean }[] = []
    for (const [name, [number, kind, repeated]] of Object.entries(schema))
      fields[number] = { name, kind, isRepeated: repeated !== undefined }
    table = fields
    tables.set(schema, table)
  }
  return table
}

/**
 * Reads what it knows and skips the rest.
 * @throws ProtocolError for what ends too early, and for numbers that JavaScript cannot hold.
 */
export function decode<S extends Schema>(schema: S, bytes: Buffer): Decoded<S> {
  const reader = new Reader(bytes)
  const table = tableOf(schema)
  const value: Record<string, unknown> = {}
  while (!reader.isAtEnd) {
    const tag = reader.varint()
    const wire = tag % 8
    const field = table[(tag - wire) / 8]
    if (field === undefined) reader.skip(wire)
    else if (wire === varint)
      add(value, field, field.kind === 'flag' ? reader.varint() !== 0 : numberFor(field, reader))
    else if (wire === counted) readCounted(value, field, reader.bytes())
    else reader.skip(wire)
  }
  return value as Decoded<S>
}

function numberFor({ name, kind }: { readonly name: string; readonly kind: Kind }, reader: Reader): number {
  const number = reader.varint()
  if (kind !== 'number') throw new ProtocolError(`${name} is no number`)
  if (!Number.isSafeInteger(number)) throw new ProtocolError(`${name} is larger than JavaScript can hold`)
  return number
}

function readCounted(
  value: Record<string, unknown>,
  field: { readonly name: string; readonly kind: Kind; readonly isRepeated: boolean },
  bytes: Buffer,
): void {
  const { kind } = field
  if (kind === 'text') return add(value, field, bytes.toString('utf8'))
  if (kind === 'bytes') return add(value, field, bytes)
  if (typeof kind === 'object') return add(value, field, decode(kind, bytes))
  // Numbers may be packed.
  const packed = new Reader(bytes)
  while (!packed.isAtEnd) add(value, field, numberFor(field, packed))
}

function add(
  value: Record<string, unknown>,
  { name, isRepeated }: { readonly name: string; readonly isRepeated: boolean },
  one: unknown,
): void {
  if (!isRepeated) value[name] = one
  else if (Array.isArray(value[name])) (value[name] as unknown[]).push(one)
  else value[name] = [one]
}

export class Reader {
  readonly #bytes: Buffer
  #at = 0

  constructor(bytes: Buffer) {
    this.#bytes = bytes
  }

  get isAtEnd(): boolean {
    return this.#at >= this.#bytes.length
  }

  /** Signed 64 bits: what does not fit into a number is not exact. */
  varint(): number {
    let result = 0
    let scale = 1
    for (let count = 0; count < 7; count++) {
      const byte = this.#byte()
      result += (byte & 127) * scale
      if (byte < 128) return result
      scale *= 128
    }
    return this.#large(BigInt(result))
  }

  bytes(): Buffer {
    const length = this.varint()
    const end = this.#at + length
    if (length < 0 || end > this.#bytes.length) throw new ProtocolError('a field is longer than its frame')
    const found = this.#bytes.subarray(this.#at, end)
    this.#at = end
    return found
  }

  skip(wire: number): void {
    if (wire === varint) this.varint()
    else if (wire === counted) this.bytes()
    else if (wire === fixed64) this.#move(8)
    else if (wire === fixed32) this.#move(4)
    else throw new ProtocolError(`there is no wire type ${wire}`)
  }

  #large(low: bigint): number {
    let result = low
    for (let shift = 49n; shift < 70n; shift += 7n) {
      const byte = this.#byte()
      result += BigInt(byte & 127) << shift
      if (byte < 128) return Number(BigInt.asIntN(64, result))
    }
    throw new ProtocolError('a number has more than ten bytes')
  }

  #byte(): number {
    const byte = this.#bytes[this.#at++]
    if (byte === undefined) throw new ProtocolError('a frame ends in the middle of a number')
    return byte
  }

  #move(length: number): void {
    this.#at += length
    if (this.#at > this.#bytes.length) throw new ProtocolError('a field is longer than its frame')
  }
}
