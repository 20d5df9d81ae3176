import { Cluster, Redis, type RedisOptions } from 'ioredis'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { freePorts } from '../../../scripts/services/ports.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { pipeline } from '../../../src/index.ts'
import { redisIdempotencyStore, type RedisIdempotencyStoreOptions } from '../../../src/stores/redis/index.ts'
import { idempotencyStoreContract } from '../../../src/testing/contracts/idempotency-store-contract.ts'
import { resultStoreContract } from '../../../src/testing/contracts/result-store-contract.ts'
import { faultProxy, through } from '../../support/fault-proxy.ts'
import { privateRedis, type PrivateServer } from '../../support/private-servers.ts'
import { describeWith, redisUrl, uniqueName } from '../../support/services.ts'
import { ask, day, hold } from '../claims.ts'

// What the tests leave on a shared server goes by itself.
const forgetMs = 60_000

const contract = (title: string, options: RedisIdempotencyStoreOptions, isCluster = false) =>
  describeWith(['redis'], `the idempotency store contract, in Redis, ${title}`, () => {
    const create = () => {
      const redis = new Redis(redisUrl())
      redis.isCluster = isCluster
      const prefix = uniqueName('test')
      const dispose = async () => redis.disconnect()
      return {
        store: redisIdempotencyStore(redis, { prefix, forgetMs, ...options }),
        advance: (ms: number) => sleep(ms),
        dispose,
      }
    }
    for (const { name, run } of idempotencyStoreContract(create)) it(name, run)
  })
contract('batched', {})
contract('in small batches', { maxBatch: 3 })
contract('each key in a call of its own, as on a cluster', {}, true)

describeWith([], 'the idempotency store contract, on a Redis cluster of two', () => {
  const nodes: PrivateServer[] = []
  let cluster: Cluster
  beforeAll(async () => {
    const busPorts = [await freePorts(), await freePorts()]
    for (const port of busPorts)
      nodes.push(await privateRedis({ flags: ['--cluster-enabled', 'yes', '--cluster-port', String(port)] }))
    const admins = nodes.map(({ url }) => new Redis(url))
    await admins[0]?.call('CLUSTER', 'ADDSLOTSRANGE', '0', '8191')
    await admins[1]?.call('CLUSTER', 'ADDSLOTSRANGE', '8192', '16383')
    await admins[0]?.call('CLUSTER', 'MEET', '127.0.0.1', String(nodes[1]?.port), String(busPorts[1]))
    for (const admin of admins)
      await waitFor(async () => String(await admin.call('CLUSTER', 'INFO')).includes('cluster_state:ok'))
    for (const admin of admins) admin.disconnect()
    cluster = new Cluster(nodes.map(({ url }) => url))
  })
  afterAll(async () => {
    cluster.disconnect()
    await Promise.all(nodes.map((node) => node.dispose()))
  })
  const create = () => ({
    store: redisIdempotencyStore(cluster, { prefix: uniqueName('test') }),
    advance: (ms: number) => sleep(ms),
  })
  for (const { name, run } of idempotencyStoreContract(create)) it(`I-16 ${name}`, run)
  for (const { name, run } of resultStoreContract(create)) it(`I-16 results: ${name}`, run)
})

describeWith(['redis'], 'redisIdempotencyStore()', () => {
  const prefix = uniqueName('test')
  const opened: Redis[] = []
  function connect(url: string = redisUrl(), options: Omit<RedisOptions, 'replyMapping'> = {}): Redis {
    const redis = new Redis(url, options)
    redis.on('error', () => {})
    opened.push(redis)
    return redis
  }
  const direct = connect()
  const store = redisIdempotencyStore(direct, { prefix, forgetMs })
  afterAll(async () => {
    for (const redis of opened) redis.disconnect()
  })
  const nameOf = (key: string) => `${prefix}:1:s:${key}`

  it('I-13 gives the key back to the command that ioredis sends again by itself', async () => {
    const proxy = await faultProxy(redisUrl())
    const redis = connect(through(proxy, redisUrl()), { retryStrategy: () => 5 })
    const behind = redisIdempotencyStore(redis, { prefix, forgetMs })
    await hold(behind, ask('i-13-before'))
    proxy.dropReplies()
    const claim = hold(behind, ask('i-13'))
    await waitFor(async () => (await direct.exists(nameOf('i-13'))) === 1)
    proxy.restore()
    proxy.cut()
    const held = await claim
    expect(held.attempts).toBe(1)
    proxy.dropReplies()
    const completion = behind.complete(held, day)
    await waitFor(async () => (await direct.get(nameOf('i-13')))?.startsWith('c') === true)
    proxy.restore()
    proxy.cut()
    expect(await completion).toBe('ok')
    await proxy.dispose()
  })

  it('I-26 rejects while the server is cut off, and goes on when it is back', async () => {
    const proxy = await faultProxy(redisUrl())
    const redis = connect(through(proxy, redisUrl()), { maxRetriesPerRequest: 1, retryStrategy: () => 10 })
    const behind = redisIdempotencyStore(redis, { prefix, forgetMs })
    const handled: string[] = []
    const orders = pipeline('orders')
      .use(idempotency({ store: behind, scope: 's' }))
      .handle(({ message }) => void handled.push(message.id))
    const deliver = (id: string) => orders.dispatch({ message: { id, body: null } }).catch((error: unknown) => error)
    expect(await deliver('i-26-a')).toBe('handled')
    proxy.refuse()
    expect(await deliver('i-26-b')).toMatchObject({ code: 'retry-later', holds: 'pipeline' })
    expect(handled).toEqual(['i-26-a'])
    proxy.restore()
    await waitFor(async () => (await deliver('i-26-b')) === 'handled')
    expect(await deliver('i-26-a')).toBe('duplicate')
    expect(handled).toEqual(['i-26-a', 'i-26-b'])
    await proxy.dispose()
  })

  it('keeps its keys over a restart of the server, and makes who claims meanwhile wait', async () => {
    const server = await privateRedis()
    const redis = connect(server.url, { maxRetriesPerRequest: null, retryStrategy: () => 20 })
    const there = redisIdempotencyStore(redis)
    const held = await hold(there, ask('kept'))
    await there.complete(await hold(there, ask('done')), day)
    await server.stop()
    const meanwhile = there.claim(ask('meanwhile'))
    await server.start()
    expect((await meanwhile).state).toBe('claimed')
    expect((await there.claim(ask('done'))).state).toBe('completed')
    expect((await there.claim(ask('kept'))).state).toBe('in-progress')
    expect(await there.complete(held, day)).toBe('ok')
    redis.disconnect()
    await server.dispose()
  })

  it('I-15 refuses a server that may evict claims, until it is set right or told to be fine', async () => {
    const server = await privateRedis()
    const redis = connect(server.url)
    await redis.config('SET', 'maxmemory', '100mb')
    await redis.config('SET', 'maxmemory-policy', 'volatile-lru')
    const there = redisIdempotencyStore(redis)
    const refusal = {
      code: 'bad-option',
      message: expect.stringContaining('maxmemory-policy must be noeviction, got volatile-lru') as unknown,
    }
    await expect(there.check()).rejects.toMatchObject(refusal)
    await expect(there.claim(ask('a'))).rejects.toMatchObject(refusal)
    expect((await redisIdempotencyStore(redis, { allowEviction: true }).claim(ask('a'))).state).toBe('claimed')
    await redis.config('SET', 'maxmemory-policy', 'noeviction')
    expect((await there.claim(ask('b'))).state).toBe('claimed')
    await redis.config('SET', 'maxmemory-policy', 'allkeys-lru')
    await redis.config('SET', 'maxmemory', '0')
    await redisIdempotencyStore(redis).check()
    redis.disconnect()
    await server.dispose()
  })

  it('I-15 leaves a server that does not tell its policy to whoever set it up', async () => {
    const server = await privateRedis()
    const admin = connect(server.url)
    await admin.call('ACL', 'SETUSER', 'plain', 'on', 'nopass', '~*', '+@all', '-info')
    const redis = connect(server.url, { username: 'plain', password: 'any', enableReadyCheck: false })
    expect((await redisIdempotencyStore(redis).claim(ask('a'))).state).toBe('claimed')
    for (const each of [redis, admin]) each.disconnect()
    await server.dispose()
  })

  it('I-14 takes a write for done once the replicas have it, where it is told to wait for them', async () => {
    const primary = await privateRedis()
    const replica = await privateRedis()
    const redis = connect(primary.url)
    const copy = connect(replica.url)
    const alone = redisIdempotencyStore(redis, { waitReplicas: 1, waitMs: 50 })
    await expect(alone.claim(ask('a'))).rejects.toMatchObject({
      code: 'unavailable',
      message: 'redisIdempotencyStore: 0 of 1 replicas confirmed the write',
    })
    await redis.config('SET', 'repl-diskless-sync-delay', '0')
    await copy.replicaof('127.0.0.1', primary.port)
    await waitFor(async () => (await redis.info('replication')).includes('state=online'))
    const both = redisIdempotencyStore(redis, { waitReplicas: 1, waitMs: 20_000 })
    const held = await hold(both, ask('b'))
    expect(await copy.get('holdfast:1:s:b')).toMatch(/^p/)
    expect(await both.complete(held, day)).toBe('ok')
    expect(await copy.get('holdfast:1:s:b')).toMatch(/^c/)
    for (const each of [redis, copy]) each.disconnect()
    // A primary that is asked to stop waits for its replicas.
    await Promise.all([primary.kill('SIGKILL'), replica.kill('SIGKILL')])
    await Promise.all([primary.dispose(), replica.dispose()])
  })

  it('I-16 asks a cluster for each key by itself, and refuses to wait for replicas there', async () => {
    const redis = connect()
    redis.isCluster = true
    const counts: number[] = []
    const counting = {
      isCluster: true,
      eval: redis.eval.bind(redis),
      info: redis.info.bind(redis),
      wait: redis.wait.bind(redis),
      evalsha(sha: string, keyCount: number, ...rest: (string | number)[]) {
        counts.push(keyCount)
        return redis.evalsha(sha, keyCount, ...rest)
      },
    }
    const clustered = redisIdempotencyStore(counting, { prefix, forgetMs })
    await Promise.all(['a', 'b', 'c'].map((key) => hold(clustered, ask(`i-16-${key}`))))
    expect(counts).toEqual([1, 1, 1])
    expect(() => redisIdempotencyStore(redis, { waitReplicas: 1 })).toThrow(
      'redisIdempotencyStore: waitReplicas must be 0 on a cluster',
    )
  })

  it('sends its scripts again where the server has forgotten them', async () => {
    const held = await hold(store, ask('scripts'))
    await direct.script('FLUSH')
    expect(await store.complete(held, day)).toBe('ok')
    await direct.script('FLUSH')
    expect((await store.claim(ask('scripts'))).state).toBe('completed')
  })

  it('I-11 gives a later claim the higher token although the clock was set back', async () => {
    const held = await hold(store, ask('clock'))
    await store.release(held, 1)
    const ahead = held.token + 3_600_000_000n
    await direct.set(nameOf('clock'), `r${ahead}1`, 'KEEPTTL')
    const next = await hold(store, ask('clock'))
    expect(next.token).toBe(ahead + 1n)
  })

  it('lets every key expire: the settled ones after their retention, the others in the end', async () => {
    const short = redisIdempotencyStore(direct, { prefix, forgetMs: 5000 })
    const held = await hold(short, ask('ttl', { leaseMs: 1000 }))
    const ttl = () => direct.pttl(nameOf('ttl'))
    expect(await ttl()).toBeGreaterThan(5000)
    expect(await ttl()).toBeLessThanOrEqual(6000)
    await short.release(held, 1)
    expect(await ttl()).toBeLessThanOrEqual(5000)
    await short.complete(await hold(short, ask('ttl')), day)
    expect(await ttl()).toBeGreaterThan(day - 60_000)
  })

  it('lets no key of somebody else in the batch suffer for one that cannot be written', async () => {
    await direct.set(nameOf('taken'), 'a text')
    await direct.hset(nameOf('a hash'), 'a', 'b')
    const [taken, hash, ...others] = await Promise.allSettled(
      ['taken', 'a hash', 'free-a', 'free-b'].map((key) => store.claim(ask(key))),
    )
    expect(taken).toMatchObject({ status: 'rejected', reason: { code: 'permanent' } })
    expect(hash).toMatchObject({ status: 'rejected', reason: { code: 'permanent' } })
    expect(await direct.get(nameOf('taken'))).toBe('a text')
    expect(others.map((each) => each.status)).toEqual(['fulfilled', 'fulfilled'])
  })

  it('says that Redis is not there, where it is not', async () => {
    const nowhere = connect('redis://127.0.0.1:1', { maxRetriesPerRequest: 0, retryStrategy: () => null })
    await expect(redisIdempotencyStore(nowhere).check()).rejects.toMatchObject({
      code: 'unavailable',
      message: 'redisIdempotencyStore: Redis did not answer',
    })
  })

  it('refuses bad options', () => {
    expect(() => redisIdempotencyStore(direct, { prefix: '' })).toThrow('redisIdempotencyStore: prefix must be')
    expect(() => redisIdempotencyStore(direct, { maxBatch: 0 })).toThrow('maxBatch must be')
    expect(() => redisIdempotencyStore(direct, { waitReplicas: -1 })).toThrow('waitReplicas must be')
  })
})

async function waitFor(condition: () => Promise<boolean>): Promise<void> {
  for (let tries = 0; tries < 2000; tries++) {
    if (await condition()) return
    await sleep(5)
  }
  throw new Error('it did not come to that')
}

describeWith(['redis'], 'redisIdempotencyStore(), where something is in the way', () => {
  const redis = new Redis(redisUrl())
  afterAll(() => redis.disconnect())

  it('takes a key of another type for its message`s own fault, and claims the others of the batch', async () => {
    const prefix = uniqueName('test')
    const store = redisIdempotencyStore(redis, { prefix, forgetMs })
    const scope = ask('list').scope
    await redis.lpush(`${prefix}:${scope.length}:${scope}:list`, 'x')
    await redis.set(`${prefix}:${scope.length}:${scope}:text`, 'no claim', 'EX', 60)
    const answers = await Promise.allSettled(['a', 'list', 'text', 'b'].map((key) => store.claim(ask(key))))
    await redis.del(`${prefix}:${scope.length}:${scope}:list`)
    expect(
      answers.map((answer) => (answer.status === 'fulfilled' ? answer.value.state : (answer.reason as Error).message)),
    ).toEqual([
      'claimed',
      'redisIdempotencyStore: the key is taken by something else than a claim',
      'redisIdempotencyStore: the key is taken by something else than a claim',
      'claimed',
    ])
  })

  it.each([
    "NOPERM this user has no permissions to run the 'info' command",
    "unsupported command 'info'",
    "ERR command 'INFO' is not allowed",
    'invalid request',
  ])('goes on where INFO is refused: %s', async (text) => {
    const info = () => Promise.reject(Object.assign(new Error(text), { name: 'ReplyError' }))
    const behind = Object.assign(Object.create(redis) as Redis, { info })
    const store = redisIdempotencyStore(behind, { prefix: uniqueName('test'), forgetMs })
    expect((await store.claim(ask('a'))).state).toBe('claimed')
  })

  it('does not take a server that loads its data for one that says nothing', async () => {
    const info = () => Promise.reject(Object.assign(new Error('LOADING Redis is loading'), { name: 'ReplyError' }))
    const store = redisIdempotencyStore(Object.assign(Object.create(redis) as Redis, { info }))
    await expect(store.check()).rejects.toMatchObject({ code: 'unavailable' })
  })

  it('completes in one command, and takes nothing from what it may not complete', async () => {
    const prefix = uniqueName('test')
    const nameOf = (key: string) => `${prefix}:${ask(key).scope.length}:${ask(key).scope}:${key}`
    const store = redisIdempotencyStore(redis, { prefix, forgetMs })
    const mine = await hold(store, ask('a'))
    const taken = { ...(await hold(store, ask('b'))), token: 1n }
    const printed = await hold(store, ask('c', { fingerprint: 'f' }))
    const before = await redis.get(nameOf('b'))
    const ttlBefore = await redis.pttl(nameOf('b'))
    expect(await Promise.all([mine, taken, printed].map((held) => store.complete(held, forgetMs)))).toEqual([
      'ok',
      'lost',
      'ok',
    ])
    expect(await redis.get(nameOf('b'))).toBe(before)
    expect(await redis.pttl(nameOf('b'))).toBeLessThanOrEqual(ttlBefore)
    expect(await redis.get(nameOf('a'))).toBe(`c${String(mine.token).padStart(16, '0')}`)
    // The lease of the claim may come on top of the retention, and nothing else.
    const ttl = await redis.pttl(nameOf('a'))
    expect(ttl).toBeGreaterThan(forgetMs - 10_000)
    expect(ttl).toBeLessThanOrEqual(forgetMs + ask('a').leaseMs)
    expect((await store.claim(ask('c', { fingerprint: 'other' }))).state).toBe('conflict')
    const long = await hold(store, ask('d'))
    expect(await store.complete(long, 2 * day)).toBe('ok')
    expect(await redis.pttl(nameOf('d'))).toBeGreaterThan(day)
    await redis.pexpire(nameOf('d'), 60_000)
  })
})
