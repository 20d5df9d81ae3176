import { Redis } from 'ioredis'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, expect, it } from 'vitest'
import { isFailedBefore, PermanentError } from '../../../src/core/errors.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { fixedKeys, resultCipher, type KeyProvider } from '../../../src/encryption/index.ts'
import { remember, type RememberOptions } from '../../../src/idempotency/remember/index.ts'
import { retry } from '../../../src/retry/retry.ts'
import { redisIdempotencyStore, type RedisIdempotencyStoreOptions } from '../../../src/stores/redis/index.ts'
import { resultStoreContract } from '../../../src/testing/contracts/result-store-contract.ts'
import { faultProxy, through } from '../../support/fault-proxy.ts'
import { privateRedis } from '../../support/private-servers.ts'
import { describeWith, redisUrl, uniqueName } from '../../support/services.ts'
import { ask, hold } from '../claims.ts'

// What the tests leave on a shared server goes by itself.
const forgetMs = 60_000

const contract = (title: string, options: RedisIdempotencyStoreOptions, isCluster = false) =>
  describeWith(['redis'], `the result store contract, in Redis, ${title}`, () => {
    const create = () => {
      const redis = new Redis(redisUrl())
      redis.isCluster = isCluster
      const store = redisIdempotencyStore(redis, { prefix: uniqueName('test'), forgetMs, ...options })
      return { store, advance: (ms: number) => sleep(ms), dispose: async () => redis.disconnect() }
    }
    for (const { name, run } of resultStoreContract(create)) it(name, run)
  })
contract('batched', {})
contract('each key in a call of its own, as on a cluster', {}, true)

describeWith(['redis'], 'results in Redis', () => {
  const redis = new Redis(redisUrl())
  afterAll(() => redis.disconnect())
  const storeAt = (prefix: string) => redisIdempotencyStore(redis, { prefix, forgetMs })
  const nameOf = (prefix: string, key: string) => `${prefix}:1:s:${key}`

  it('stand in the claim`s own text: one key, with the expiry of the claim', async () => {
    const prefix = uniqueName('test')
    const store = storeAt(prefix)
    const held = await hold(store, ask('a', { fingerprint: 'f:1' }))
    const ttl = await redis.pttl(nameOf(prefix, 'a'))
    await store.keepResult(held, Buffer.from('one'))
    expect(await redis.pttl(nameOf(prefix, 'a'))).toBeLessThanOrEqual(ttl)
    expect(await redis.pttl(nameOf(prefix, 'a'))).toBeGreaterThan(ttl - 10_000)
    await store.complete(held, 5_000)
    expect(await redis.pttl(nameOf(prefix, 'a'))).toBeLessThanOrEqual(5_000)
    await store.keepResult(held, Buffer.from('two'))
    expect(await redis.pttl(nameOf(prefix, 'a'))).toBeLessThanOrEqual(5_000)
    expect(await redis.pttl(nameOf(prefix, 'a'))).toBeGreaterThan(0)
    expect(await redis.keys(`${prefix}*`)).toEqual([nameOf(prefix, 'a')])
    expect((await store.claim(ask('a', { fingerprint: 'f:2' }))).state).toBe('conflict')
    expect((await store.claim(ask('a', { fingerprint: 'f:1' }))).state).toBe('completed')
  })

  it('outlive renewals, and are gone for a claim after a redrive', async () => {
    const store = storeAt(uniqueName('test'))
    const held = await hold(store, ask('a', { generation: 1 }))
    await store.keepResult(held, Buffer.from('one'))
    expect(await store.renew(held, 60_000)).toBe('ok')
    expect((await store.claim(ask('a'))).state).toBe('in-progress')
    await store.complete(held, 60_000)
    expect(Buffer.from((await store.resultOf('s', 'a')) ?? []).toString()).toBe('one')

    const failed = await hold(store, ask('b'))
    await store.keepResult(failed, Buffer.from('one'))
    const failure = { reason: 'attempts', errorName: 'Error', errorMessage: 'no', attempts: 1 } as const
    await store.fail(failed, failure, 60_000)
    const redriven = await hold(store, ask('b', { generation: 1 }))
    await store.complete(redriven, 60_000)
    expect(await store.resultOf('s', 'b')).toBeNull()
  })

  it('are given back to a claim that is sent again', async () => {
    const store = storeAt(uniqueName('test'))
    const request = ask('a')
    const held = await hold(store, request)
    await store.keepResult(held, Buffer.from('one'))
    expect((await hold(store, request)).token).toBe(held.token)
    await store.complete(held, 60_000)
    expect(Buffer.from((await store.resultOf('s', 'a')) ?? []).toString()).toBe('one')
  })

  it('cost nothing where there are none: a claim and its completion are two calls and two commands', async () => {
    const prefix = uniqueName('test')
    const monitor = await new Redis(redisUrl()).monitor()
    const seen: string[] = []
    monitor.on('monitor', (_time: string, args: readonly string[], source: string) => {
      const [command = '', first = ''] = args
      if (first.startsWith(`${prefix} mark`)) seen.push(first)
      else if (args.some((arg) => arg.startsWith(prefix)))
        seen.push(`${source === 'lua' ? '  ' : ''}${command.toLowerCase()}`)
    })
    const store = storeAt(prefix)
    // The monitor tells a little later: nothing of what was before may be left.
    let marks = 0
    const told = async () => {
      const mark = `${prefix} mark ${marks++}`
      await redis.exists(mark)
      await expect.poll(() => seen.at(-1)).toBe(mark)
    }
    const commandsOf = async (work: () => Promise<unknown>) => {
      await told()
      seen.length = 0
      await work()
      await told()
      return seen.slice(0, -1)
    }
    // The server knows the scripts from here on.
    await store.complete(await hold(store, ask('first')), forgetMs)
    expect(await commandsOf(async () => store.complete(await hold(store, ask('a')), forgetMs))).toEqual([
      'evalsha',
      '  set',
      'evalsha',
      '  set',
    ])
    expect(await commandsOf(() => store.claim(ask('a')))).toEqual(['evalsha', '  set', '  get'])
    const keeping = async () => {
      const held = await hold(store, ask('b'))
      await store.keepResult(held, Buffer.from('one'))
      await store.complete(held, forgetMs)
      await store.resultOf('s', 'b')
    }
    await keeping()
    await redis.del(nameOf(prefix, 'b'))
    expect(await commandsOf(keeping)).toEqual([
      ...['evalsha', '  set'],
      ...['evalsha', '  get', '  set'],
      // Taken back where it would have lost the result, and written with it.
      ...['evalsha', '  set', '  set', '  set'],
      ...['evalsha', '  get'],
    ])
    monitor.disconnect()
  })

  it('wait for replicas as every write does, and reading them does not', async () => {
    const server = await privateRedis()
    const alone = new Redis(server.url)
    const held = await hold(redisIdempotencyStore(alone), ask('a'))
    const waiting = redisIdempotencyStore(alone, { waitReplicas: 1, waitMs: 20 })
    await expect(waiting.keepResult(held, Buffer.from('one'))).rejects.toMatchObject({ code: 'unavailable' })
    await redisIdempotencyStore(alone).complete(held, 60_000)
    expect(Buffer.from((await waiting.resultOf('s', 'a')) ?? []).toString()).toBe('one')
    alone.disconnect()
    await server.dispose()
  })

  it('refuse a key that is somebody else`s, and change nothing of it', async () => {
    const prefix = uniqueName('test')
    const store = storeAt(prefix)
    await redis.set(nameOf(prefix, 'a'), 'no claim', 'EX', 60)
    await redis.lpush(nameOf(prefix, 'b'), 'x')
    const refused = { code: 'permanent' }
    await expect(store.resultOf('s', 'a')).rejects.toMatchObject(refused)
    await expect(store.resultOf('s', 'b')).rejects.toMatchObject(refused)
    await expect(store.keepResult({ scope: 's', key: 'b', token: 1n }, Buffer.of())).rejects.toMatchObject(refused)
    expect(await store.keepResult({ scope: 's', key: 'a', token: 1n }, Buffer.of())).toBe('lost')
    expect(await redis.get(nameOf(prefix, 'a'))).toBe('no claim')
    await redis.del(nameOf(prefix, 'b'))
  })
})

interface Charge {
  readonly cents: number
}

describeWith(['redis'], 'remember() on Redis', () => {
  const redis = new Redis(redisUrl())
  afterAll(() => redis.disconnect())

  function endpoint(
    options: Partial<RememberOptions<Charge, { readonly number: number; readonly note?: string }>> = {},
  ) {
    const state = { charges: 0, work: async (): Promise<void> => {}, note: '' }
    const store = redisIdempotencyStore(redis, { prefix: uniqueName('test'), forgetMs })
    const answers = remember<Charge, { readonly number: number; readonly note?: string }>({
      ...{ store, retainMs: 60_000, fingerprint: ({ message }) => JSON.stringify(message.body), ...options },
    })
    const payments = pipeline<Charge>('api.payments')
      .use(answers.stage)
      .use(retry({ maxAttempts: 2, backoff: { initialMs: 1 } }))
      .handle(
        answers.handler(async () => {
          state.charges += 1
          await state.work()
          return { number: state.charges, note: state.note }
        }),
      )
    const call = (id: string, cents = 1) => answers.call(payments, { message: { id, body: { cents } } })
    return { state, call, store }
  }

  it('gives a repeated call the first result, or its final error, and refuses another body', async () => {
    const { call, state } = endpoint()
    state.note = 'ü 🧵'
    const result = { number: 1, note: 'ü 🧵' }
    expect(await call('a')).toEqual({ repeated: false, found: true, result })
    expect(await call('a')).toEqual({ repeated: true, found: true, result })
    await expect(call('a', 2)).rejects.toMatchObject({ code: 'key-conflict' })
    state.work = () => Promise.reject(new PermanentError('declined'))
    await expect(call('b')).rejects.toThrow('declined')
    const again: unknown = await call('b').catch((error: unknown) => error)
    expect(isFailedBefore(again) && again.failure).toMatchObject({ reason: 'permanent', errorMessage: 'declined' })
    expect(state.charges).toBe(2)
  })

  it('keeps 64 KiB, and of more only that it was too large', async () => {
    const { call, state } = endpoint()
    state.note = 'x'.repeat(65_000)
    await call('a')
    expect(await call('a')).toMatchObject({ repeated: true, found: true, result: { note: state.note } })
    state.note = 'x'.repeat(66_000)
    expect(await call('b')).toMatchObject({ repeated: false, found: true })
    expect(await call('b')).toEqual({ repeated: true, found: false, because: 'too-large' })
  })

  it('keeps them encrypted where asked, and says so when their key is destroyed', async () => {
    const key = Buffer.alloc(32, 7)
    const fixed = fixedKeys({ use: 'k1', keys: { k1: key } })
    let isDestroyed = false
    const keys: KeyProvider = {
      ...fixed,
      byId: (id) => (isDestroyed ? Promise.resolve('destroyed' as const) : fixed.byId(id)),
    }
    const prefix = uniqueName('test')
    const store = redisIdempotencyStore(redis, { prefix, forgetMs })
    const { call, state } = endpoint({ store, cipher: resultCipher({ keys, keyCacheMs: 0 }) })
    state.note = 'a secret'
    await call('a')
    const [name = ''] = await redis.keys(`${prefix}*`)
    const text = (await redis.get(name)) ?? ''
    expect(Buffer.from(text.slice(text.lastIndexOf(':') + 1), 'base64').toString()).not.toContain('secret')
    expect(await call('a')).toMatchObject({ repeated: true, found: true, result: { note: 'a secret' } })
    isDestroyed = true
    expect(await call('a')).toEqual({ repeated: true, found: false, because: 'erased' })
  })

  it('of 20 callers at once one runs, and all get its result in the end', async () => {
    const { call, state } = endpoint()
    state.work = () => sleep(20)
    async function insistent(): Promise<{ readonly repeated: boolean; readonly result?: unknown }> {
      for (;;) {
        const answer = await call('a').catch(() => undefined)
        if (answer !== undefined) return answer
        await sleep(10)
      }
    }
    const answers = await Promise.all(Array.from({ length: 20 }, insistent))
    expect(answers.filter(({ repeated }) => !repeated)).toHaveLength(1)
    expect(new Set(answers.map(({ result }) => JSON.stringify(result))).size).toBe(1)
    expect(state.charges).toBe(1)
  })

  it('fails no call whose result could not be kept: its effect has happened, and the next caller is told', async () => {
    const proxy = await faultProxy(redisUrl())
    const behind = new Redis(through(proxy, redisUrl()), { maxRetriesPerRequest: 0, retryStrategy: () => 10 })
    behind.on('error', () => {})
    const prefix = uniqueName('test')
    const store = redisIdempotencyStore(behind, { prefix, forgetMs })
    const { call, state } = endpoint({ store: { ...store, keepResult: () => Promise.reject(new Error('down')) } })
    expect(await call('a')).toMatchObject({ repeated: false, found: true })
    expect(await call('a')).toEqual({ repeated: true, found: false, because: 'not-kept' })
    proxy.refuse()
    await expect(call('b')).rejects.toMatchObject({ code: 'retry-later', holds: 'pipeline' })
    expect(state.charges).toBe(1)
    proxy.restore()
    await expect.poll(() => call('b').catch(() => undefined), { timeout: 10_000 }).toMatchObject({ found: true })
    behind.disconnect()
    await proxy.dispose()
  })
})
