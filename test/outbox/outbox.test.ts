import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { headersFrom } from '../../src/core/message.ts'
import { headersFromJson, headersToJson } from '../../src/outbox/headers-json.ts'
import { outbox, type OutboxEntry, type OutboxMessage, type OutboxOptions } from '../../src/outbox/outbox.ts'

describe('outbox()', () => {
  async function added<Body>(message: OutboxMessage<Body>, options: OutboxOptions<Body> = {}): Promise<OutboxEntry[]> {
    const entries: OutboxEntry[] = []
    const box = outbox<null, Body>((_, list) => Promise.resolve(void entries.push(...list)), options)
    await box.add(null, message)
    return entries
  }
  const refused = (message: OutboxMessage): Promise<unknown> => added(message)

  it('fills in id, key and type', async () => {
    const [entry] = await added({ destination: 'orders', body: null })
    expect(entry).toMatchObject({
      destination: 'orders',
      type: 'orders',
      key: null,
      headers: null,
      body: null,
      dueMs: null,
    })
    expect(entry?.id).toMatch(/^[0-9a-f-]{36}$/)
  })

  it('encodes typed bodies, and refuses bodies that are not bytes where there is no codec', async () => {
    const codec = { encode: (body: { n: number }) => Buffer.from(JSON.stringify(body)) }
    const [entry] = await added({ destination: 'orders', body: { n: 1 } }, { codec })
    expect(Buffer.from(entry?.body ?? []).toString()).toBe('{"n":1}')
    const notBytes = { id: 'm', destination: 'orders', body: { n: 1 } as unknown as Uint8Array }
    await expect(refused(notBytes)).rejects.toMatchObject({
      code: 'permanent',
      message: 'outbox: the message m to orders has a body that is neither bytes nor null: give the outbox a codec',
    })
  })

  it('waits no longer than its signal, and writes nothing once that has aborted', async () => {
    const stop = new AbortController()
    const written: unknown[] = []
    const hanging = outbox<null>((_, list) => {
      written.push(...list)
      return new Promise(() => {})
    })
    const message = { destination: 'orders', body: null }
    const adding = hanging.add(null, message, { signal: stop.signal })
    stop.abort(new Error('shutting down'))
    await expect(adding).rejects.toThrow('shutting down')
    expect(written).toHaveLength(1)
    await expect(hanging.add(null, message, { signal: stop.signal })).rejects.toThrow('shutting down')
    expect(written).toHaveLength(1)

    const signals: unknown[] = []
    const box = outbox<null>(() => Promise.resolve(), {
      through: (next) => (messages, options) => {
        signals.push(options?.signal)
        return next(messages, options)
      },
    })
    const { signal } = new AbortController()
    await box.add(null, message, { signal })
    expect(signals).toEqual([signal])
  })

  it('passes an error of the codec on, so that an unserialisable body is not written', async () => {
    const codec = { encode: (body: bigint) => Buffer.from(JSON.stringify({ body })) }
    await expect(added({ destination: 'orders', body: 1n }, { codec })).rejects.toThrow(/BigInt/)
  })

  it('O-18: refuses what is larger than maxBytes, headers and key included, and writes none of the messages', async () => {
    const written: unknown[] = []
    const box = outbox<null>((_, list) => Promise.resolve(void written.push(...list)), { maxBytes: 100 })
    const fits = { id: 'fits', destination: 'orders', body: Buffer.alloc(90) }
    await box.add(null, fits)
    const large = { id: 'large', destination: 'orders', key: 'k'.repeat(20), body: Buffer.alloc(90) }
    await expect(box.add(null, [fits, large])).rejects.toMatchObject({
      code: 'permanent',
      message:
        'outbox: the message large to orders has 110 bytes, more than maxBytes 100; raise it or give a claimCheck',
    })
    expect(written).toHaveLength(1)
  })

  it('O-18: lets a claim check keep a large body elsewhere', async () => {
    const kept: string[] = []
    const options: OutboxOptions = {
      maxBytes: 100,
      claimCheck: ({ id, headers }) => {
        kept.push(id)
        return Promise.resolve({ body: null, headers: headersFrom([...Object.entries(headers), ['claim-check', id]]) })
      },
    }
    const [small] = await added({ id: 's', destination: 'orders', body: Buffer.alloc(100) }, options)
    expect(small?.body).toHaveLength(100)
    const [entry] = await added(
      { id: 'm', destination: 'orders', headers: { a: 'b' }, body: Buffer.alloc(101) },
      options,
    )
    expect(entry).toMatchObject({ id: 'm', body: null, headers: '{"a":"b","claim-check":"m"}' })
    expect(kept).toEqual(['m'])
    const useless: OutboxOptions = { maxBytes: 100, claimCheck: ({ body }) => Promise.resolve({ body }) }
    await expect(added({ destination: 'orders', body: Buffer.alloc(101) }, useless)).rejects.toThrow(
      /has 101 bytes after its claim check, more than maxBytes 100/,
    )
  })

  it('refuses what no column could hold, in one clear sentence', async () => {
    await expect(refused({ destination: '', body: null })).rejects.toThrow('outbox: a message has no destination')
    await expect(refused({ id: 'a\0b', destination: 'orders', body: null })).rejects.toThrow(
      /has a id that is not plain text/,
    )
    await expect(refused({ destination: 'orders', key: '', body: null })).rejects.toThrow(/needs a text as key/)
    await expect(refused({ destination: 'orders', key: '\ud800', body: null })).rejects.toThrow(
      /has a key that is not plain/,
    )
    for (const delayUntil of [new Date(NaN), 1e20, -1, null, '2040-01-01'] as (Date | number)[])
      await expect(refused({ id: 'm', destination: 'orders', body: null, delayUntil })).rejects.toThrow(
        'outbox: the message m to orders has a delayUntil that is neither a date nor ms since 1970',
      )
    for (const headers of [null, 'a: b'] as unknown as Record<string, string>[])
      await expect(refused({ id: 'm', destination: 'orders', body: null, headers })).rejects.toThrow(
        'outbox: the message m to orders has headers that are not an object',
      )
    for (const nothing of [null, undefined, 'orders'] as unknown as OutboxMessage[])
      await expect(refused(nothing)).rejects.toThrow('outbox: a message must be an object')
    const number = { a: 1 } as unknown as Record<string, string>
    await expect(refused({ id: 'm', destination: 'orders', body: null, headers: number })).rejects.toThrow(
      'outbox: the message m has a header a that is neither text nor bytes',
    )
  })

  it('O-20: lets middleware add headers on the way in, and keeps the delay', async () => {
    const [entry] = await added(
      { destination: 'orders', body: null, delayUntil: 5000 },
      {
        through: (next) => (messages) =>
          next(messages.map((message) => ({ ...message, headers: headersFrom([['traceparent', '00-1-2-01']]) }))),
      },
    )
    expect(entry).toMatchObject({ headers: '{"traceparent":"00-1-2-01"}', dueMs: 5000 })
  })

  it('does nothing for an empty list', async () => {
    const box = outbox<null>(() => Promise.reject(new Error('not to be called')))
    expect(await box.add(null, [])).toEqual([])
  })

  it('O-20: headers come back as they went in, whatever they hold', () => {
    const value = fc.oneof(
      fc.string({ unit: 'grapheme' }),
      fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
    )
    const name = fc.string({ unit: 'grapheme', minLength: 1 }).filter((text) => !text.includes('\0'))
    const pairs = fc.array(fc.tuple(name, fc.oneof(value, fc.array(value, { minLength: 1, maxLength: 3 }))))
    fc.assert(
      fc.property(pairs, (list) => {
        const headers = headersFrom([...list, ['__proto__', 'x']])
        const back = headersFromJson(headersToJson({ id: 'm', headers }))
        expect(Object.getPrototypeOf(back)).toBeNull()
        expect(comparable(back)).toEqual(comparable(headers))
      }),
    )
  })
})

function comparable(headers: object): unknown[] {
  return Object.entries(headers).map(([name, value]: [string, unknown]) => [name, JSON.stringify(value)])
}
