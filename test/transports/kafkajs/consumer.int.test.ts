import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import { setTimeout as sleep } from 'node:timers/promises'
import kafkajs, { CompressionTypes } from 'kafkajs'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { AbandonedError, RetryLater } from '../../../src/core/errors.ts'
import { kafkajsConsumer, kafkajsPublisher } from '../../../src/transports/kafkajs/index.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import { describeWith, kafkaBrokers, uniqueName } from '../../support/services.ts'
import { mortalSockets } from '../../support/mortal-sockets.ts'
import { managed } from './managed.ts'
import { numbers, testKafka, until, type TestKafka } from './support.ts'

describeWith(['kafka'], 'the managed consumer on real Kafka', () => {
  let test: TestKafka
  beforeAll(async () => {
    test = await testKafka()
  })
  afterAll(() => test.dispose())

  const setUp = async (partitions = 1) => ({ topic: await test.topic(partitions), groupId: uniqueName('group') })

  it('K-2: commits the first message that is not done, whatever was finished after it', async () => {
    const { topic, groupId } = await setUp()
    await test.send(topic, numbers(10))
    const free = Promise.withResolvers<void>()
    const seen: string[] = []
    const consumer = managed(topic, groupId, async ({ message }) => {
      if (message.id === 'm3') await free.promise
      seen.push(message.id)
    })
    await until('the others', () => seen.length === 9)
    await until('the commit', async () => (await test.committed(groupId, topic)) === 3)
    await sleep(200)
    expect(await test.committed(groupId, topic)).toBe(3)
    free.resolve()
    await until('the rest', async () => (await test.committed(groupId, topic)) === 10)
    await consumer.stop()
  })

  it('K-4: what was finished is committed on stop', async () => {
    const { topic, groupId } = await setUp()
    await test.send(topic, numbers(20))
    let count = 0
    const consumer = managed(topic, groupId, () => void count++, { commitEveryMs: 3_600_000 })
    await until('all', () => count === 20)
    expect(await test.committed(groupId, topic)).toBe(-1)
    await consumer.stop()
    expect(await test.committed(groupId, topic)).toBe(20)
  })

  it('K-5: a handler that always fails holds its key; the group sees one join and no crash, and the health shows it', async () => {
    const { topic, groupId } = await setUp()
    await test.send(topic, numbers(30, 'poisoned').slice(0, 10))
    await test.send(topic, numbers(20))
    const seen: string[] = []
    const consumer = managed(topic, groupId, ({ message }) => {
      if (message.key === 'poisoned') throw new Error('never')
      seen.push(message.id)
    })
    await until('the others', () => seen.length === 20)
    await sleep(1000)
    expect(consumer.health()).toMatchObject({
      ready: true,
      details: { held: 1, partitions: [{ position: 0, held: 1, buffered: 30 }] },
    })
    await consumer.stop()
    expect(consumer.changed('joined')).toHaveLength(1)
    expect(consumer.changed('crashed')).toHaveLength(0)
    expect(await test.committed(groupId, topic)).toBe(0)
  })

  it('K-6: a missing codec ends the run with one error that names it, and the consumer is not ready', async () => {
    const { topic, groupId } = await setUp()
    const without: unknown = kafkajs.CompressionCodecs[CompressionTypes.ZSTD]
    kafkajs.CompressionCodecs[CompressionTypes.ZSTD] = () => ({
      compress: async ({ buffer }: { buffer: Buffer }) =>
        zstdCompressSync(buffer, { params: { [constants.ZSTD_c_compressionLevel]: 1 } }),
      decompress: async (buffer: Buffer) => zstdDecompressSync(buffer),
    })
    const producer = test.kafka.producer()
    await producer.connect()
    await kafkajsPublisher(producer, { compression: CompressionTypes.ZSTD }).publish([
      outgoing({ destination: topic, body: Buffer.from('x') }),
    ])
    await producer.disconnect()
    Reflect.set(kafkajs.CompressionCodecs, CompressionTypes.ZSTD, without)
    const consumer = managed(topic, groupId, () => {})
    const error: unknown = await consumer.ended.catch((caught: unknown) => caught)
    expect(error).toMatchObject({
      code: 'unavailable',
      message: expect.stringContaining('CompressionCodecs') as string,
    })
    expect(consumer.health().ready).toBe(false)
  })

  it('K-7: a handler that hangs holds its key alone; the membership goes on, and the health says so', async () => {
    const { topic, groupId } = await setUp()
    await test.send(topic, numbers(20))
    const free = Promise.withResolvers<void>()
    const seen: string[] = []
    const consumer = managed(
      topic,
      groupId,
      async ({ message }) => {
        if (message.id === 'm0') await free.promise
        seen.push(message.id)
      },
      { hungAfterMs: 500 },
    )
    await until('the others', () => seen.length === 19)
    consumer.health()
    // Longer than the session.
    await sleep(4000)
    expect(consumer.health()).toMatchObject({ ready: false, details: { hung: 1 } })
    expect(consumer.changed('joined')).toHaveLength(1)
    expect(await test.committed(groupId, topic)).toBe(0)
    free.resolve()
    await until('it', async () => (await test.committed(groupId, topic)) === 20)
    expect(consumer.health().ready).toBe(true)
    await consumer.stop()
  })

  it('a handler that was given up is reported, its lane held, and its message not acked', async () => {
    const { topic, groupId } = await setUp()
    await test.send(topic, numbers(3, 'k'))
    const late = Promise.withResolvers<void>()
    const seen: string[] = []
    const consumer = managed(topic, groupId, ({ message }) => {
      seen.push(message.id)
      if (seen.length === 1) throw new AbandonedError('deaf', late.promise)
    })
    await until('reported', () => consumer.health().details['abandoned'] === 1)
    await consumer.stop()
    expect(seen).toEqual(['m0'])
    expect(await test.committed(groupId, topic)).toBeLessThanOrEqual(0)
    late.resolve()
  })

  it('B-2: an open circuit stops all starts and, once the buffer is full, all fetching; then one probe goes first', async () => {
    const { topic, groupId } = await setUp()
    await test.send(topic, numbers(500))
    let open = true
    let calls = 0
    const consumer = managed(
      topic,
      groupId,
      () => {
        calls++
        if (open) throw new RetryLater(300, { holds: 'pipeline', because: 'circuit open' })
      },
      { buffer: 50, ahead: 50, concurrency: 8, settings: { maxBytesPerPartition: 1024 } },
    )
    await until('halted', () => consumer.health().details['halted'] === true)
    await sleep(1200)
    expect(calls).toBeLessThanOrEqual(8 + 6)
    expect(consumer.health()).toMatchObject({ ready: false, details: { partitions: [{ paused: true }] } })
    open = false
    await until('all', async () => (await test.committed(groupId, topic)) === 500)
    await consumer.stop()
  })

  it('K-10: stops although the buffer is full and everything hangs', async () => {
    const { topic, groupId } = await setUp()
    await test.send(topic, numbers(500))
    const signals: AbortSignal[] = []
    const consumer = managed(
      topic,
      groupId,
      ({ signal }) => {
        signals.push(signal)
        return new Promise(() => {})
      },
      { buffer: 64, ahead: 64, drainMs: 300 },
    )
    await until('full', () => signals.length === 64)
    await consumer.stop()
    expect(signals.every(({ aborted }) => aborted)).toBe(true)
    expect(await test.committed(groupId, topic)).toBeLessThanOrEqual(0)
  })

  it('K-11: goes on at the start of the log where retention overtook the group, and says what was lost', async () => {
    const { topic, groupId } = await setUp()
    await test.send(topic, numbers(20))
    const seen: string[] = []
    const handler = ({ message }: { message: { id: string } }) => void seen.push(message.id)
    const first = managed(topic, groupId, handler)
    await until('all', () => seen.length === 20)
    await first.stop()
    await test.send(topic, numbers(40).slice(20))
    await test.admin.fetchTopicOffsets(topic)
    await test.admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '30' }] })
    const second = managed(topic, groupId, handler)
    await until('what is left', () => seen.length === 30)
    await until('the alarm', () => second.changes.some(({ change }) => /messages-lost|out-of-range/.test(change)))
    await until('committed', async () => (await test.committed(groupId, topic)) === 40)
    await second.stop()
    expect(seen.slice(20)).toEqual(
      numbers(40)
        .slice(30)
        .map((_, n) => `m${n + 30}`),
    )
  })

  it('K-11: tells of messages that retention takes while it runs', async () => {
    const { topic, groupId } = await setUp()
    // A fetch never splits what was sent as one.
    for (let from = 0; from < 300; from += 10) await test.send(topic, numbers(from + 10).slice(from))
    const free = Promise.withResolvers<void>()
    let started = 0
    const consumer = managed(
      topic,
      groupId,
      () => {
        started++
        return free.promise
      },
      { buffer: 20, ahead: 20, settings: { maxBytesPerPartition: 1024 } },
    )
    await until('paused', () => {
      const [partition] = consumer.health().details['partitions'] as { paused: boolean }[]
      return started > 0 && partition?.paused === true
    })
    await test.admin.fetchTopicOffsets(topic)
    await test.admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '250' }] })
    free.resolve()
    await until('the end', async () => (await test.committed(groupId, topic)) === 300)
    await until('the alarm', () => consumer.changed('messages-lost').length > 0)
    expect(consumer.changed('messages-lost')[0]?.detail).toMatchObject({ topic, partition: 0, to: 250 })
    expect(started).toBeLessThan(300)
    await consumer.stop()
  })

  it('K-15: takes equal bytes for one key, also where they are no text', async () => {
    const { topic, groupId } = await setUp()
    const key = (last: number) => Buffer.from([0xff, 0xfe, last])
    await test.send(
      topic,
      Array.from({ length: 20 }, (_, n) => ({ key: key(n % 2), headers: { 'message-id': `m${n}` } })),
    )
    const running = new Map<string | null, number>()
    let most = 0
    const seen: string[] = []
    const faults: string[] = []
    const consumer = managed(topic, groupId, async ({ message }) => {
      const now = (running.get(message.key) ?? 0) + 1
      if (now > 1) faults.push(message.id)
      running.set(message.key, now)
      most = Math.max(most, [...running.values()].filter((count) => count > 0).length)
      await sleep(5)
      running.set(message.key, now - 1)
      seen.push(message.id)
    })
    await until('all', () => seen.length === 20)
    await consumer.stop()
    expect(faults).toEqual([])
    expect([most, running.size]).toEqual([2, 2])
  })

  it('K-14, K-16: transaction markers and aborted records leave no lag, and gaps are no loss', async () => {
    const { topic, groupId } = await setUp(2)
    const producer = test.kafka.producer({
      transactionalId: uniqueName('tx'),
      maxInFlightRequests: 1,
      idempotent: true,
    })
    await producer.connect()
    const send = async (partition: number, keep: boolean) => {
      const tx = await producer.transaction()
      await tx.send({ topic, messages: numbers(5).map((each) => ({ value: 'x', ...each, partition })) })
      await (keep ? tx.commit() : tx.abort())
    }
    await send(0, true)
    await send(0, false)
    await send(0, true)
    // Nothing of this partition ever reaches a handler.
    await send(1, false)
    await producer.disconnect()
    let count = 0
    const consumer = managed(topic, groupId, () => void count++)
    // Markers are written a little after the transaction ended.
    await until('no lag', async () => {
      const log = await test.admin.fetchTopicOffsets(topic)
      const committed = await Promise.all(log.map(({ partition }) => test.committed(groupId, topic, partition)))
      const ends = log.map(({ high }) => Number(high))
      return ends.includes(18) && ends.includes(6) && ends.every((end, at) => committed[at] === end)
    })
    await consumer.stop()
    expect(count).toBe(10)
    expect(consumer.changed('messages-lost')).toEqual([])
  })

  it('K-20: an idempotent producer writes once, also to a topic that was just created', async () => {
    const { topic } = await setUp(4)
    const producer = test.kafka.producer({ idempotent: true })
    await producer.connect()
    await kafkajsPublisher(producer).publish(
      Array.from({ length: 2000 }, (_, n) => outgoing({ destination: topic, id: `m${n}`, key: `${n}`, body: null })),
    )
    await producer.disconnect()
    const offsets = await test.admin.fetchTopicOffsets(topic)
    expect(offsets.reduce((sum, { high }) => sum + Number(high), 0)).toBe(2000)
  })

  it('K-22: stops at whatever moment it is told to', async () => {
    const { topic, groupId } = await setUp()
    await test.send(topic, numbers(50))
    for (const afterMs of [0, 5, 30, 100, 250]) {
      const consumer = managed(topic, groupId, () => sleep(2))
      await sleep(afterMs)
      await consumer.stop()
    }
  })

  it('K-13: comes back by itself after a crash, as a new member, and leaves no ghost', async () => {
    const { topic, groupId } = await setUp()
    const sockets = mortalSockets()
    const seen = new Set<string>()
    const consumer = managed(topic, groupId, ({ message }) => void seen.add(message.id), {
      client: { socketFactory: sockets.factory, retry: { initialRetryTime: 50, retries: 2 } },
      settings: { retry: { retries: 2, initialRetryTime: 50 } },
    })
    await test.send(topic, numbers(5))
    await until('five', () => seen.size === 5)
    sockets.down()
    await until('the crash', () => consumer.changed('crashed').length > 0)
    expect(consumer.health().ready).toBe(false)
    sockets.up()
    await test.send(topic, numbers(10).slice(5))
    await until('ten', () => seen.size === 10)
    await until('ready', () => consumer.health().ready)
    const { groups } = await test.admin.describeGroups([groupId])
    expect(groups[0]?.members.length).toBeLessThanOrEqual(2)
    await consumer.stop()
  })

  it('aborts what runs once no heartbeat got through for a session, and goes on when one does', async () => {
    const { topic, groupId } = await setUp()
    const sockets = mortalSockets()
    const reasons: unknown[] = []
    let calls = 0
    const consumer = managed(
      topic,
      groupId,
      async ({ signal }) => {
        if (++calls > 1) return
        await new Promise((resolve) => signal.addEventListener('abort', resolve, { once: true }))
        reasons.push(signal.reason)
        throw new Error('stopped by its signal')
      },
      { client: { socketFactory: sockets.factory }, sessionMs: 1500 },
    )
    await test.send(topic, numbers(1))
    await until('the handler', () => calls === 1)
    sockets.down()
    await until('aborted', () => reasons.length === 1)
    expect(consumer.health().ready).toBe(false)
    sockets.up()
    await until('handled again', async () => calls === 2 && (await test.committed(groupId, topic)) === 1, 40_000)
    await consumer.stop()
  })

  it('spreads messages without a key over the concurrency', async () => {
    const { topic, groupId } = await setUp()
    await test.send(
      topic,
      Array.from({ length: 40 }, () => ({ key: null })),
    )
    let running = 0
    let most = 0
    let count = 0
    const consumer = managed(topic, groupId, async () => {
      most = Math.max(most, ++running)
      await sleep(20)
      running--
      count++
    })
    await until('all', () => count === 40)
    await consumer.stop()
    expect(most).toBeGreaterThan(10)
  })

  it.each([
    [
      'an unreachable broker',
      { client: { brokers: ['127.0.0.1:1'], retry: { retries: 0 } } },
      'kafka: brokers: none can be reached',
    ],
    ['an unknown topic', { topics: ['no-such-topic'] }, "kafka: topics: 'no-such-topic' does not exist"],
    [
      'a plain listener asked for TLS',
      { client: { ssl: true, connectionTimeout: 500, retry: { retries: 0 } } },
      'kafka: ',
    ],
  ])('%s gives one clear error at the start', async (_what, options, message) => {
    const { topic, groupId } = await setUp()
    const consumer = managed(topic, groupId, () => {}, options)
    await expect(consumer.ended).rejects.toThrow(message)
    expect(consumer.health().ready).toBe(false)
  })

  it('K-9: refuses settings that contradict each other or the pipeline, all in one message', () => {
    const kafka = new kafkajs.Kafka({ brokers: kafkaBrokers() })
    const base = { kafka, groupId: 'g', topics: ['t'], pipeline: pipeline('p').handle(() => {}) }
    expect(() => kafkajsConsumer({ ...base, sessionMs: 3000, heartbeatMs: 2000, drainMs: 60_000 })).toThrow(
      /heartbeatMs \(2000\) must be at most a third of sessionMs \(3000\).*drainMs \(60000\) \+ heartbeatMs/,
    )
    const slow = pipeline('p')
      .use(
        Object.assign(<D>(next: D) => next, {
          stage: { name: 'timeout', facts: { timeoutMs: 30_000, poolSize: 10 } },
        }),
      )
      .handle(() => {})
    expect(() => kafkajsConsumer({ ...base, pipeline: slow })).toThrow(
      /drainMs \(20000\) must be at least the pipeline's timeout \(30000\).*concurrency \(64\) must not exceed the transaction's pool \(10\)/,
    )
    expect(() => kafkajsConsumer({ ...base, concurrency: 0 })).toThrow(
      'kafkajsConsumer: concurrency must be an integer of at least 1, got 0',
    )
    expect(() => kafkajsConsumer({ ...base, topics: [] })).toThrow('kafkajsConsumer: topics')
    expect(() => kafkajsConsumer({ ...base, groupId: '' })).toThrow('kafkajsConsumer: groupId')
  })

  it('PK-1: handles every message of a topic that is deleted and made anew while it runs, and says so', async () => {
    const { topic, groupId } = await setUp()
    await test.send(topic, numbers(50))
    const seen = new Set<string>()
    const consumer = managed(topic, groupId, ({ message }) => void seen.add(message.id))
    await until('all of the old topic', async () => (await test.committed(groupId, topic)) === 50)
    await test.admin.deleteTopics({ topics: [topic] })
    const create = () => test.admin.createTopics({ topics: [{ topic, numPartitions: 1 }] }).catch(() => false)
    await until('the new topic', create, 60_000)
    const anew = Array.from({ length: 20 }, (_, n) => ({ key: `k${n}`, headers: { 'message-id': `new-${n}` } }))
    await until('the new messages are stored', () =>
      test.send(topic, anew).then(
        () => true,
        () => false,
      ),
    )
    await until('all of the new topic', () => anew.every(({ headers }) => seen.has(headers['message-id'])), 60_000)
    expect(consumer.changed('out-of-range').length).toBeGreaterThan(0)
    await until('its position', async () => (await test.committed(groupId, topic)) === 20)
    await consumer.stop()
  })

  it('begins at the end where it is told to, and there only for what the group has not committed', async () => {
    const { topic, groupId } = await setUp(2)
    await test.send(topic, numbers(10))
    const seen: string[] = []
    const first = managed(topic, groupId, ({ message }) => void seen.push(message.id), { startFrom: 'latest' })
    await until('the start is committed', async () => {
      const positions = await Promise.all([0, 1].map((partition) => test.committed(groupId, topic, partition)))
      return positions.every((position) => position >= 0)
    })
    await test.send(topic, [{ key: 'a', headers: { 'message-id': 'after' } }])
    await until('the new one', () => seen.length === 1)
    await first.stop()
    await test.send(topic, [{ key: 'b', headers: { 'message-id': 'while-away' } }])
    const second = managed(topic, groupId, ({ message }) => void seen.push(message.id), { startFrom: 'latest' })
    await until('what came meanwhile', () => seen.length === 2)
    await second.stop()
    expect(seen).toEqual(['after', 'while-away'])
  })
})
