import { randomBytes } from 'node:crypto'
import fc from 'fast-check'
import { describe, expect, it, vi } from 'vitest'
import { headersFrom, type Bytes, type Message } from '../../src/core/message.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { outgoing, publisher, type Outgoing } from '../../src/core/publisher.ts'
import { json } from '../../src/codecs/json.ts'
import { deadLetter } from '../../src/dead-letter/dead-letter.ts'
import { decrypt, encrypt, fixedKeys, type KeyProvider } from '../../src/encryption/index.ts'
import { retry } from '../../src/retry/retry.ts'
import { memoryBroker, memoryConsumer } from '../../src/transports/memory/index.ts'
import { z } from 'zod'

const [k1, k2] = [randomBytes(32), randomBytes(32)]
const keys = fixedKeys({ use: 'k1', keys: { k1, k2 } })
const body = Buffer.from('{"customer":"ada"}')

async function sealed(parts: Partial<Outgoing> = {}, by: KeyProvider = keys): Promise<Outgoing> {
  const sent: Outgoing[] = []
  const wire = publisher({ publish: async (messages: readonly Outgoing[]) => void sent.push(...messages) })
  await wire.use(encrypt({ keys: by })).publish([outgoing({ destination: 'orders', key: 'ada', body, ...parts })])
  return sent[0] ?? expect.fail('nothing was published')
}

/** What the handler gets, or the error. */
async function opened(message: Message<Bytes>, options: Partial<Parameters<typeof decrypt>[0]> = {}) {
  let got: Message<Bytes> | undefined
  const orders = pipeline('orders')
    .use(decrypt({ keys, ...options }))
    .handle(({ message }) => void (got = message))
  await orders.dispatch({ message })
  return got
}
const permanent = (text: string): unknown =>
  expect.objectContaining({ code: 'permanent', message: expect.stringContaining(text) as string })

describe('encrypt() and decrypt()', () => {
  it('give back any body, and no key header', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 2000 }), fc.string({ unit: 'binary' }), async (bytes, key) => {
        const message = await sealed({ body: bytes, key })
        expect(message.body?.byteLength).toBe(bytes.byteLength + 29)
        const got = await opened(message)
        expect(Buffer.from(got?.body ?? [1]).equals(Buffer.from(bytes))).toBe(true)
        expect(got?.headers).not.toHaveProperty('encryption-key')
      }),
      { numRuns: 50 },
    )
  })

  it('hides the body, and never seals twice alike', async () => {
    const [one, two] = [await sealed({ id: 'a' }), await sealed({ id: 'a' })]
    expect(Buffer.from(one.body ?? []).includes('ada')).toBe(false)
    expect(one.body).not.toEqual(two.body)
  })

  it('leaves a tombstone a tombstone', async () => {
    const message = await sealed({ body: null })
    expect(message.headers).not.toHaveProperty('encryption-key')
    expect(await opened(message)).toMatchObject({ body: null })
  })

  it('opens what was sealed before the keys were rotated', async () => {
    const old = await sealed()
    const rotated = fixedKeys({ use: 'k2', keys: { k1, k2 } })
    const fresh = await sealed({}, rotated)
    expect(fresh.headers['encryption-key']).toBe('k2')
    for (const message of [old, fresh]) expect(await opened(message, { keys: rotated })).toMatchObject({ body })
  })

  const bent: [string, (message: Outgoing) => Partial<Outgoing>][] = [
    ['moved to another id', () => ({ id: 'other' })],
    ['moved to another type', () => ({ type: 'order.cancelled' })],
    ['moved to another key', () => ({ key: 'bob' })],
    ['moved to no key', () => ({ key: null })],
    ['another key’s id', () => ({ headers: headersFrom([['encryption-key', 'k2']]) })],
    ['cut off', ({ body }) => ({ body: body?.subarray(0, -1) ?? null })],
    ['cut to its head', ({ body }) => ({ body: body?.subarray(0, 10) ?? null })],
    ['emptied', () => ({ body: Buffer.alloc(0) })],
    ['another version', ({ body }) => ({ body: Buffer.concat([Buffer.of(2), body?.subarray(1) ?? Buffer.of()]) })],
  ]
  it.each(bent)('do not open a message that was %s (PR-11)', async (_, bend) => {
    const message = await sealed()
    await expect(opened({ ...message, ...bend(message) })).rejects.toEqual(permanent(''))
  })

  it('do not open a message with any bit changed', async () => {
    const message = await sealed()
    const bytes = message.body ?? expect.fail('no body')
    for (let at = 0; at < bytes.byteLength; at++) {
      const changed = Buffer.from(bytes)
      changed[at] = (changed[at] ?? 0) ^ 1
      await expect(opened({ ...message, body: changed })).rejects.toEqual(permanent(''))
    }
  })

  it('do not open a message under another id of the same key (PR-11)', async () => {
    const twice = fixedKeys({ use: 'k1', keys: { k1, also: k1 } })
    const message = await sealed({}, twice)
    expect(await opened(message, { keys: twice })).toMatchObject({ body })
    const moved = { ...message, headers: headersFrom([['encryption-key', 'also']]) }
    await expect(opened(moved, { keys: twice })).rejects.toEqual(permanent('does not open'))
  })

  it('tell an empty key from none', async () => {
    const message = await sealed({ key: '' })
    await expect(opened({ ...message, key: null })).rejects.toEqual(permanent('does not open'))
  })

  it('refuse plain messages, unless told to take them', async () => {
    const plain = outgoing({ destination: 'orders', body })
    await expect(opened(plain)).rejects.toEqual(permanent('not encrypted'))
    expect(await opened(plain, { whenPlain: 'pass' })).toMatchObject({ body })
  })

  it('leave the bytes as they travelled to the dead letter', async () => {
    const letters: Outgoing[] = []
    const message = await sealed()
    const orders = pipeline('orders')
      .use(deadLetter({ to: { publish: async (sent) => void letters.push(...sent) } }))
      .use(decrypt({ keys }))
      .decode(json(z.object({ other: z.string() })))
      .handle(() => {})
    expect(await orders.dispatch({ message })).toBe('dead-lettered')
    expect(letters[0]?.body).toEqual(message.body)
    expect(letters[0]?.headers['encryption-key']).toBe('k1')
  })

  it('refuse a wrong place in the stack', () => {
    expect(() =>
      pipeline('p')
        .use(decrypt({ keys }))
        .use(deadLetter({ to: { publish: async () => {} } }))
        .handle(() => {}),
    ).toThrow('dead-letter must stand outside decrypt')
  })
})

describe('a key that is not there', () => {
  const provider = (byId: KeyProvider['byId']): KeyProvider => ({ current: keys.current, byId })

  it('was destroyed: the message is a tombstone, or undecodable', async () => {
    const message = await sealed()
    const destroyed = provider(async () => 'destroyed')
    expect(await opened(message, { keys: destroyed })).toMatchObject({ id: message.id, body: null })
    await expect(opened(message, { keys: destroyed, whenErased: 'refuse' })).rejects.toEqual(permanent('destroyed'))
  })

  it('is not known: its message alone waits, then it is given up (PR-8, PR-9)', async () => {
    const broker = memoryBroker({ partitions: 1 })
    const wire = broker.publisher()
    const forged = { ...(await sealed({ id: 'forged', key: 'k' })), headers: headersFrom([['encryption-key', 'none']]) }
    const handled: Bytes[] = []
    const orders = pipeline('orders')
      .use(deadLetter({ to: wire, destination: 'dead' }))
      .use(decrypt({ keys }))
      .use(retry({ maxAttempts: 1 }))
      .handle(async ({ message }) => void handled.push(message.body))
    const stop = new AbortController()
    const running = memoryConsumer({ broker, groupId: 'g', topics: ['orders'], pipeline: orders }).run(stop.signal)
    await wire.publish([forged, ...(await Promise.all(Array.from({ length: 50 }, () => sealed())))])
    await vi.waitFor(() => expect(handled).toHaveLength(50))
    await vi.waitFor(() => expect(broker.messages('dead')).toMatchObject([{ id: 'forged' }]))
    expect(handled).not.toContain(null)
    stop.abort()
    await running
  })

  it('is not known yet: it is asked for again', async () => {
    const message = await sealed()
    let known = false
    const later = provider(async (id) => (known ? keys.byId(id) : 'unknown'))
    const orders = pipeline('orders')
      .use(decrypt({ keys: later }))
      .handle(() => {})
    await expect(orders.dispatch({ message })).rejects.toMatchObject({ code: 'retry-later', holds: 'message' })
    known = true
    expect(await orders.dispatch({ message })).toBe('handled')
  })

  it('cannot be asked for: the pipeline waits, and asks again', async () => {
    const message = await sealed()
    let away = true
    const failing = provider((id) => (away ? Promise.reject(new Error('away')) : keys.byId(id)))
    const orders = pipeline('orders')
      .use(decrypt({ keys: failing }))
      .handle(() => {})
    await expect(orders.dispatch({ message })).rejects.toMatchObject({ code: 'retry-later', holds: 'pipeline' })
    away = false
    expect(await orders.dispatch({ message })).toBe('handled')
  })

  it('is asked for once while it is remembered', async () => {
    const byId = vi.fn(keys.byId)
    const orders = pipeline('orders')
      .use(decrypt({ keys: provider(byId) }))
      .handle(() => {})
    const messages = await Promise.all([sealed(), sealed(), sealed()])
    await Promise.all(messages.map((message) => orders.dispatch({ message })))
    expect(byId).toHaveBeenCalledTimes(1)
  })

  it('is not there when publishing: nothing is published', async () => {
    const sent: Outgoing[] = []
    const wire = publisher({ publish: async (messages: readonly Outgoing[]) => void sent.push(...messages) })
    const failing = { byId: keys.byId, current: () => Promise.reject(new Error('away')) }
    const orders = wire.use(encrypt({ keys: failing }))
    await expect(orders.publish([outgoing({ destination: 'orders', body })])).rejects.toMatchObject({
      code: 'retry-later',
    })
    expect(sent).toEqual([])
  })
})

describe('fixedKeys()', () => {
  it.each([
    [{ use: 'k3', keys: { k1 } }, 'use must be the id of one of its keys'],
    [{ use: 'k1', keys: { k1: Buffer.alloc(16) } }, "keys['k1'] must be 32 bytes, got '16 bytes'"],
    [{ use: 'k1', keys: { k1: 'secret' } }, "keys['k1'] must be 32 bytes"],
  ])('refuses %j', (options, message) => {
    expect(() => fixedKeys(options as never)).toThrow(message)
  })
})
