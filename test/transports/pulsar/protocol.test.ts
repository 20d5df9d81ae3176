import { createServer, type AddressInfo, type Socket } from 'node:net'
import { deflateSync, zstdCompressSync } from 'node:zlib'
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { systemClock } from '../../../src/core/clock.ts'
import { messagesIn } from '../../../src/transports/pulsar/entry.ts'
import {
  commands,
  metadata,
  single,
  type Command,
  type CommandName,
} from '../../../src/transports/pulsar/protocol/commands.ts'
import { Connection } from '../../../src/transports/pulsar/protocol/connection.ts'
import { crc32c } from '../../../src/transports/pulsar/protocol/crc32c.ts'
import { ProtocolError, PulsarError } from '../../../src/transports/pulsar/protocol/errors.ts'
import { commandFrame, FrameCutter, parseFrame, sendFrame } from '../../../src/transports/pulsar/protocol/frames.ts'
import { decode, encode, type Schema } from '../../../src/transports/pulsar/protocol/protobuf.ts'

const known = {
  text: [1, 'text'],
  bytes: [2, 'bytes'],
  number: [3, 'number'],
  flag: [4, 'flag'],
} as const satisfies Schema
const nested = { ...known, inner: [5, known], many: [6, 'number', 'repeated'], inners: [7, known, 'repeated'] } as const

const message = sendFrame(
  { producerId: 1, sequenceId: 5, messages: 1 },
  { producerName: 'p', sequenceId: 5, publishTime: 1, properties: [{ key: 'a', value: 'b' }], partitionKey: 'k' },
  Buffer.from('body'),
)
/** As the broker sends it: the same with another command. */
const delivered = (() => {
  const command = commandFrame('message', { consumerId: 1, messageId: { ledgerId: 3, entryId: 4 } }).subarray(4)
  const rest = message.subarray(8 + message.readUInt32BE(4))
  const frame = Buffer.concat([Buffer.alloc(4), command, rest])
  frame.writeUInt32BE(frame.length - 4, 0)
  return frame
})()

/** Any of the commands, with any of its fields. */
const anyCommand = fc
  .constantFrom(...(Object.keys(commands) as CommandName[]))
  .chain((name) => anyOf(commands[name][1]).map((value) => ({ name, value: value as Command<typeof name> })))

function anyOf(schema: Schema): fc.Arbitrary<object> {
  const fields = Object.entries(schema).map(([name, [, kind, repeated]]) => {
    const one: fc.Arbitrary<unknown> =
      kind === 'text'
        ? fc.string()
        : kind === 'bytes'
          ? fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes))
          : kind === 'number'
            ? fc.oneof(fc.nat(9), fc.maxSafeInteger())
            : kind === 'flag'
              ? fc.boolean()
              : anyOf(kind)
    return [name, repeated === undefined ? one : fc.array(one, { maxLength: 3 })] as const
  })
  return fc.record(Object.fromEntries(fields), { requiredKeys: [] })
}

/** Every way in which bytes may be bad, and nothing else. */
function ends(work: () => unknown): void {
  try {
    work()
  } catch (error) {
    if (!(error instanceof ProtocolError) && !(error instanceof PulsarError)) throw error
  }
}

describe("Pulsar's frames", () => {
  it('have the checksum of the standard', () => {
    expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283)
  })

  it('come back as they were', () => {
    const record = fc.record({
      text: fc.string(),
      number: fc.integer({ min: Number.MIN_SAFE_INTEGER, max: Number.MAX_SAFE_INTEGER }),
      flag: fc.boolean(),
      many: fc.array(fc.maxSafeInteger()),
      inner: fc.record({ number: fc.maxSafeNat(), text: fc.string() }),
    })
    fc.assert(
      fc.property(record, (value) => {
        const { many, ...rest } = decode(nested, encode(nested, value))
        expect({ many: many ?? [], ...rest }).toEqual(value)
      }),
    )
  })

  it('are cut out of a stream, wherever its pieces end', () => {
    const all = Buffer.concat([
      commandFrame('ping', {}),
      delivered,
      commandFrame('success', { requestId: 7 }),
      delivered,
    ])
    fc.assert(
      fc.property(fc.array(fc.nat({ max: all.length }), { maxLength: 20 }), (cuts) => {
        const cutter = new FrameCutter()
        const places = [0, ...cuts.toSorted((a, b) => a - b), all.length]
        const names = places
          .slice(1)
          .flatMap((end, at) =>
            [...cutter.frames(all.subarray(places[at], end))].map((bytes) => parseFrame(bytes)?.name),
          )
        expect(names).toEqual(['ping', 'message', 'success', 'message'])
      }),
    )
  })

  it('P-17: hostile bytes end in one error, never in a loop or in anything else', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => ends(() => parseFrame(Buffer.from(bytes)))),
      {
        numRuns: 5_000,
      },
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 400 }), (bytes) => ends(() => decode(nested, Buffer.from(bytes)))),
      {
        numRuns: 5_000,
      },
    )
    const stream = fc.array(fc.uint8Array({ maxLength: 100 }), { maxLength: 10 })
    fc.assert(
      fc.property(stream, (pieces) => {
        const cutter = new FrameCutter()
        ends(() => {
          for (const piece of pieces) for (const bytes of cutter.frames(Buffer.from(piece))) parseFrame(bytes)
        })
      }),
      { numRuns: 5_000 },
    )
  })

  it('P-17: a frame with any of its bytes changed or its end cut off is an error, corrupt, or another frame', () => {
    const bytes = delivered.subarray(4)
    for (let at = 0; at < bytes.length; at++) {
      ends(() => parseFrame(bytes.subarray(0, at)))
      for (const change of [1, 0x80, 0xff]) {
        const changed = Buffer.from(bytes)
        changed[at] = (changed[at] ?? 0) ^ change
        ends(() => {
          const frame = parseFrame(changed)
          if (frame?.name === 'message' && frame.payload !== undefined) messagesIn(frame.payload)
        })
      }
    }
  })

  it('P-17: any command with any of its bytes changed or its end cut off is an error, or another command', () => {
    fc.assert(
      fc.property(anyCommand, fc.nat(), fc.integer({ min: 1, max: 255 }), ({ name, value }, place, change) => {
        const bytes = commandFrame(name, value).subarray(4)
        const at = place % bytes.length
        ends(() => parseFrame(bytes.subarray(0, at)))
        const changed = Buffer.from(bytes)
        changed[at] = (changed[at] ?? 0) ^ change
        ends(() => parseFrame(changed))
      }),
      { numRuns: 3_000 },
    )
  })

  it('never hands out a body whose checksum is wrong', () => {
    const changed = Buffer.from(delivered.subarray(4))
    changed[changed.length - 1] = (changed.at(-1) ?? 0) ^ 1
    const frame = parseFrame(changed)
    expect(frame?.name === 'message' && frame.payload?.isCorrupt).toBe(true)
    if (frame?.name === 'message' && frame.payload !== undefined) {
      const { payload } = frame
      expect(() => messagesIn(payload)).toThrow(/checksum/)
    }
  })
})

describe('entries', () => {
  const batched = Buffer.concat(
    ['a', 'b'].flatMap((body) => {
      const meta = encode(single, { partitionKey: body, payloadSize: 1 })
      const size = Buffer.alloc(4)
      size.writeUInt32BE(meta.length)
      return [size, meta, Buffer.from(body)]
    }),
  )

  it('P-4: are unpacked from a batch, compressed or not', () => {
    const bodies = [
      { metadata: { messages: 2 }, body: batched },
      { metadata: { messages: 2, compression: 2, uncompressedSize: batched.length }, body: deflateSync(batched) },
      { metadata: { messages: 2, compression: 3, uncompressedSize: batched.length }, body: zstdCompressSync(batched) },
    ].map((payload) => messagesIn({ ...payload, isCorrupt: false }).map(({ body }) => body.toString()))
    expect(bodies).toEqual([
      ['a', 'b'],
      ['a', 'b'],
      ['a', 'b'],
    ])
  })

  it.each([
    ['LZ4', { compression: 1 }, /LZ4/],
    ['Snappy', { compression: 4 }, /Snappy/],
    ['a chunk', { chunks: 3 }, /chunk/],
    ['encrypted', { encryptionKeys: [Buffer.from('k')] }, /encrypted/],
    ['larger than it says', { compression: 2, uncompressedSize: 3 }, /zlib is broken/],
    ['a batch that is cut off', { messages: 9 }, /cut off/],
  ])('refuse what is %s, and say so', (_, meta, text) => {
    const body = 'compression' in meta && meta.compression === 2 ? deflateSync(batched) : batched
    expect(() => messagesIn({ metadata: meta, body, isCorrupt: false })).toThrow(text)
  })

  it('compressed by zstd are refused by a Node that has no zstd, and say which Node has', async () => {
    vi.resetModules()
    vi.doMock('node:zlib', async (original) => ({ ...(await original<object>()), zstdDecompressSync: undefined }))
    const { messagesIn: withoutZstd } = await import('../../../src/transports/pulsar/entry.ts')
    vi.doUnmock('node:zlib')
    const payload = {
      metadata: { compression: 3, uncompressedSize: 5 },
      body: zstdCompressSync('hello'),
      isCorrupt: false,
    }
    expect(() => withoutZstd(payload)).toThrow(/compressed by zstd, which Node v\d+.* has not: use 22\.15 or newer/)
    expect(messagesIn(payload).map(({ body }) => String(body))).toEqual(['hello'])
  })

  it('P-17: end in one error for hostile batches', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(5), fc.nat(5), (bytes, messages, compression) =>
        ends(() =>
          messagesIn({
            metadata: { messages, compression, uncompressedSize: 500 },
            body: Buffer.from(bytes),
            isCorrupt: false,
          }),
        ),
      ),
      { numRuns: 3_000 },
    )
    expect(decode(metadata, Buffer.alloc(0))).toEqual({})
  })
})

describe('a connection', () => {
  async function serving(answer: (socket: Socket) => void) {
    const server = createServer((socket) => {
      socket.on('error', () => {})
      answer(socket)
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const settings = { host: '127.0.0.1', port, tls: undefined, auth: undefined, keepAliveMs: 10_000, requestMs: 300 }
    return { settings: { ...settings, clock: systemClock }, close: () => server.close() }
  }

  async function answering(answer: (socket: Socket) => void) {
    const { settings, close } = await serving(answer)
    return { connection: new Connection(settings), close }
  }

  it('P-17: ends with one error at garbage, and every request and consumer with it', async () => {
    let server: Socket | undefined
    const { connection, close } = await answering((socket) => {
      server = socket
      socket.write(commandFrame('connected', { serverVersion: 's', protocolVersion: 19 }))
    })
    await connection.ready
    const closed: string[] = []
    connection.consumers.set(1, { closed: (why) => void closed.push(why) })
    const asked = connection.request('lookup', { topic: 't' })
    server?.write('HTTP/1.1 400 Bad Request')
    await expect(asked).rejects.toMatchObject({ code: 'ProtocolError' })
    expect(closed).toEqual([expect.stringMatching(/a frame of \d+ bytes/)])
    await expect(connection.request('lookup', { topic: 't' })).rejects.toMatchObject({ code: 'ProtocolError' })
    close()
  })

  it('P-17: ends once, with one error, whatever command arrives in whatever shape', async () => {
    let server: Socket | undefined
    const { settings, close } = await serving((socket) => {
      server = socket
      socket.write(commandFrame('connected', { serverVersion: 's', protocolVersion: 19 }))
    })
    const uncaught: unknown[] = []
    const caught = (error: unknown): void => void uncaught.push(error)
    process.on('uncaughtException', caught)
    process.on('unhandledRejection', caught)
    const shape = fc.record({ command: anyCommand, at: fc.nat(), change: fc.nat(255), isCut: fc.boolean() })
    await fc.assert(
      fc.asyncProperty(fc.array(shape, { minLength: 1, maxLength: 3 }), async (shapes) => {
        const connection = new Connection(settings)
        await connection.ready
        const told = { consumer: 0, producer: 0, requests: 0 }
        connection.consumers.set(1, { closed: () => void told.consumer++, arrived: () => {} })
        connection.producers.set(1, { closed: () => void told.producer++, receipt: () => {}, refused: () => {} })
        const settled = (): void => void told.requests++
        const asked = (['lookup', 'partitions'] as const).map((name) =>
          connection.request(name, { topic: 't' }).then(settled, settled),
        )
        for (const { command, at, change, isCut } of shapes) {
          const frame = commandFrame(command.name, command.value)
          const place = 4 + (at % (frame.length - 4))
          frame[place] = (frame[place] ?? 0) ^ change
          server?.write(isCut ? frame.subarray(0, place) : frame)
        }
        server?.end()
        await Promise.all(asked)
        await new Promise((resolve) => setImmediate(resolve))
        while (connection.error === undefined) await new Promise((resolve) => setTimeout(resolve, 1))
        expect(['ProtocolError', 'Disconnected', 'AuthenticationError', 'UnknownError']).toContain(
          connection.error.code,
        )
        expect(told).toEqual({ consumer: 1, producer: 1, requests: 2 })
      }),
      { numRuns: 300 },
    )
    process.off('uncaughtException', caught)
    process.off('unhandledRejection', caught)
    expect(uncaught).toEqual([])
    close()
  })

  it('P-17: ends with one error at an answer that is none to what was asked', async () => {
    const { connection, close } = await answering((socket) => {
      socket.write(commandFrame('connected', { serverVersion: 's', protocolVersion: 19 }))
      socket.on('data', () => socket.write(commandFrame('success', { requestId: 1 })))
    })
    await connection.ready
    await expect(connection.request('lookup', { topic: 't' })).rejects.toMatchObject({ code: 'ProtocolError' })
    expect(connection.error?.message).toMatch(/success is no answer to what wants lookupAnswer/)
    close()
  })

  it('P-18: gives up at a broker that takes connections and says nothing', async () => {
    const { connection, close } = await answering(() => {})
    await expect(connection.ready).rejects.toMatchObject({ code: 'TimedOut' })
    close()
  })

  it('P-18: gives up a request that is not answered', async () => {
    const { connection, close } = await answering((socket) => {
      socket.write(commandFrame('connected', { serverVersion: 's', protocolVersion: 19 }))
    })
    await connection.ready
    await expect(connection.request('lookup', { topic: 't' })).rejects.toMatchObject({ code: 'TimedOut' })
    expect(connection.error).toBeUndefined()
    connection.close()
    close()
  })
})
