import { setTimeout as sleep } from 'node:timers/promises'
import { headers as natsHeaders } from '@nats-io/transport-node'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { pipeline, RetryLater } from 'holdfast'
import { bySubject, natsConsumer, natsPublisher, numberedPartitions, type NatsConsumerOptions } from 'holdfast/nats'
import { subscribe, type ConsumerChange } from '../../../src/core/events.ts'
import { isPublishError } from '../../../src/core/errors.ts'
import type { Delivery } from '../../../src/core/delivery.ts'
import { headersFrom, type Bytes } from '../../../src/core/message.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import { faultProxy } from '../../support/fault-proxy.ts'
import { describeWith, natsUrl } from '../../support/services.ts'
import { until } from '../kafkajs/support.ts'
import { testNats, type TestNats } from './support.ts'

type Handler = (delivery: Delivery<Bytes>) => Promise<unknown> | void

describeWith(['nats'], 'the hazards of JetStream', () => {
  let test: TestNats
  beforeEach(async () => {
    test = await testNats(natsUrl())
  })
  afterEach(() => test.dispose())

  async function member(
    stream: string,
    handler: Handler,
    more: Partial<NatsConsumerOptions> = {},
    url = natsUrl(),
    beforeRun = (): void => {},
  ) {
    const own = await test.connect(url)
    beforeRun()
    const changes: ConsumerChange[] = []
    const unsubscribe = subscribe('consumer-changed', (change) => {
      if (change.system === 'nats') changes.push(change)
    })
    const consumer = natsConsumer({
      ...own,
      stream,
      group: 'g',
      partitions: numberedPartitions(stream, 1),
      pipeline: pipeline('orders').handle(handler),
      leaseMs: 1_500,
      shareEveryMs: 100,
      redeliverMs: 50,
      ...more,
    })
    const stopping = new AbortController()
    const running = consumer.run(stopping.signal).finally(unsubscribe)
    running.catch(() => {})
    return {
      consumer,
      changes,
      running,
      async stop() {
        stopping.abort(new Error('the test is over'))
        await running
      },
    }
  }

  const send = (stream: string, count: number, from = 0, keys = 1) =>
    natsPublisher(test.js, { subject: bySubject(1) }).publish(
      Array.from({ length: count }, (_, n) =>
        outgoing({ destination: stream, id: `m${from + n}`, key: `k${n % keys}`, body: Buffer.from(String(n)) }),
      ),
    )

  it('N-1, N-3: a message that waits holds its key, and the others of the key come after it', async () => {
    const stream = await test.stream()
    await send(stream, 5)
    const seen: string[] = []
    let tries = 0
    const one = await member(stream, ({ message }) => {
      if (message.id === 'm0' && tries++ < 2) throw new RetryLater(300)
      seen.push(message.id)
    })
    await until('all', () => seen.length === 5)
    await one.stop()
    expect(seen).toEqual(['m0', 'm1', 'm2', 'm3', 'm4'])
  })

  it('starts messages of the partitions with priority first, and takes none for the first until it is certain', async () => {
    const stream = await test.stream()
    const count = 40
    for (const partition of [0, 1])
      await natsPublisher(test.js, { subject: () => `${stream}.${partition}` }).publish(
        Array.from({ length: count }, (_, n) =>
          outgoing({ destination: stream, id: `${partition}-${n}`, key: `${n}`, body: null }),
        ),
      )
    const started: string[] = []
    const firsts: string[] = []
    const one = await member(
      stream,
      async ({ message, first }) => {
        started.push(message.id)
        if (first === true) firsts.push(message.id)
        await sleep(2)
      },
      {
        ...{ partitions: numberedPartitions(stream, 2), concurrency: 1, ahead: 8 },
        priority: { partitions: ['1'], floor: 0.2 },
      },
    )
    await until('all', () => started.length === 2 * count)
    await one.stop()
    const between = started.slice(10, 40)
    expect(between.filter((id) => id.startsWith('1')).length).toBeGreaterThan(15)
    expect(between.some((id) => id.startsWith('0'))).toBe(true)
    const after = (partition: number) => started.filter((id) => id.startsWith(`${partition}-`)).slice(16)
    expect(firsts.toSorted()).toEqual([...after(0), ...after(1)].toSorted())
    await expect(member(stream, () => {}, { priority: { partitions: ['9'] } })).rejects.toThrow(
      "natsConsumer: priority: partitions[0] must be one of its partitions: 0, got '9'",
    )
  })

  it('N-4, N-5: what waits longer than the ack wait is not delivered again meanwhile', async () => {
    const stream = await test.stream()
    await send(stream, 20, 0, 20)
    const seen: string[] = []
    const one = await member(
      stream,
      async ({ message }) => {
        seen.push(message.id)
        await sleep(120)
      },
      { ackWaitMs: 400, concurrency: 2 },
    )
    await until('all', () => seen.length >= 20)
    await sleep(600)
    await one.stop()
    expect(seen).toHaveLength(20)
  })

  it('hands partitions over when members join and leave, and repeats nothing', async () => {
    const stream = await test.stream()
    const partitions = numberedPartitions(stream, 6)
    const publisher = natsPublisher(test.js, { subject: bySubject(6) })
    const count = 2_000
    await publisher.publish(
      Array.from({ length: count }, (_, n) =>
        outgoing({ destination: stream, id: `m${n}`, key: `k${n % 60}`, body: null }),
      ),
    )
    const seen: string[] = []
    const last = new Map<string, number>()
    const faults: string[] = []
    const handler: Handler = async ({ message: { id, key } }) => {
      seen.push(id)
      await sleep(5)
      const n = Number(id.slice(1))
      if (n < (last.get(key ?? '') ?? -1)) faults.push(`${key}: ${n} after ${last.get(key ?? '')}`)
      last.set(key ?? '', n)
    }
    const first = await member(stream, handler, { partitions, concurrency: 16 })
    await until('a start', () => seen.length > 200)
    const second = await member(stream, handler, { partitions, concurrency: 16 })
    await until('shared', () => (second.consumer.health().details['sources'] as unknown[]).length === 3)
    await first.stop()
    await until('all', () => new Set(seen).size === count, 40_000)
    await second.stop()
    expect(seen).toHaveLength(count)
    expect(faults).toEqual([])
  })

  it('N-6, N-12: a member whose consumer is deleted claims its partition again, from what was acked', async () => {
    const stream = await test.stream()
    const seen: string[] = []
    const one = await member(stream, ({ message }) => void seen.push(message.id))
    await send(stream, 10)
    await until('ten', () => seen.length === 10)
    for await (const { name } of test.jsm.consumers.list(stream)) await test.jsm.consumers.delete(stream, name)
    await send(stream, 10, 10)
    await until('twenty', () => new Set(seen).size === 20, 30_000)
    await one.stop()
  })

  it('N-11: a stream that was made anew is read from its beginning, and that is told', async () => {
    const stream = await test.stream()
    await send(stream, 30)
    const seen: string[] = []
    const first = await member(stream, ({ message }) => void seen.push(message.id))
    await until('thirty', () => seen.length === 30)
    await first.stop()
    await test.jsm.streams.delete(stream)
    await test.jsm.streams.add({ name: stream, subjects: [`${stream}.*`] })
    await send(stream, 5, 100)
    const second = await member(stream, ({ message }) => void seen.push(message.id))
    await until('the new ones', () => seen.length === 35)
    expect(second.changes.some(({ change }) => change === 'out-of-range')).toBe(true)
    await second.stop()
  })

  it('a hole in the deliveries, after a cut connection, is no loss and breaks no order', async () => {
    const stream = await test.stream()
    const proxy = await faultProxy(natsUrl())
    const seen: string[] = []
    const one = await member(
      stream,
      async ({ message }) => {
        await sleep(1)
        seen.push(message.id)
      },
      { concurrency: 8 },
      `nats://${proxy.address}`,
    )
    const count = 3_000
    const sending = (async () => {
      for (let from = 0; from < count; from += 100) {
        await send(stream, 100, from, 10)
        await sleep(30)
      }
    })()
    for (let cuts = 0; cuts < 6; cuts++) {
      await sleep(500)
      proxy.cut()
    }
    await sending
    await until('all', () => new Set(seen).size === count, 40_000)
    await one.stop()
    const firsts = [...new Set(seen)].filter((id) => Number(id.slice(1)) % 10 === 0)
    expect(firsts).toEqual(firsts.toSorted((a, b) => Number(a.slice(1)) - Number(b.slice(1))))
    await proxy.dispose()
  })

  it('an owner that was cut off past its lease is told to stop, and its successor begins behind what was acked', async () => {
    const stream = await test.stream()
    await send(stream, 20)
    const proxy = await faultProxy(natsUrl())
    let signal: AbortSignal | undefined
    const free = Promise.withResolvers<void>()
    const done: string[] = []
    const cut = await member(
      stream,
      async (delivery) => {
        if (delivery.message.id === 'm5') {
          signal = delivery.signal
          await free.promise
          throw new Error('too late')
        }
        done.push(delivery.message.id)
      },
      {},
      `nats://${proxy.address}`,
    )
    await until('the sixth', () => signal !== undefined)
    await sleep(200)
    proxy.silence()
    const other: string[] = []
    const second = await member(stream, ({ message }) => void other.push(message.id))
    await until('the rest', () => other.includes('m19'), 30_000)
    // The acks of the last ones before it may have been lost in the silence.
    expect(other).toEqual(Array.from({ length: other.length }, (_, n) => `m${20 - other.length + n}`))
    expect(other).toContain('m5')
    await until('told to stop', () => signal?.aborted === true)
    free.resolve()
    proxy.restore()
    await Promise.all([cut.stop(), second.stop()])
    expect(done).toEqual(['m0', 'm1', 'm2', 'm3', 'm4'])
    await proxy.dispose()
  })

  it('leaves its lease free when it stops, with the floor of what was acked, and pulls nothing more', async () => {
    const stream = await test.stream()
    await send(stream, 5)
    const positions: (string | null)[] = []
    const one = await member(stream, ({ origin }) => void positions.push(origin.position), { leaseMs: 60_000 })
    await until('five', () => positions.length === 5)
    await one.stop()
    expect(positions).toEqual(['1', '2', '3', '4', '5'])
    const lease = await test.kv.get('g.p.0')
    expect(lease?.json()).toMatchObject({ owner: null, floor: 5 })
    await send(stream, 3, 5)
    await sleep(200)
    const { delivered, num_waiting: pulls } = await test.jsm.consumers.info(stream, 'g-0-e1')
    expect({ delivered: delivered.stream_seq, pulls }).toEqual({ delivered: 5, pulls: 0 })
  })

  it('N-10: consumes a work queue, and removes what is done', async () => {
    const stream = await test.stream({ retention: 'workqueue' })
    await send(stream, 10)
    const seen: string[] = []
    const first = await member(stream, ({ message }) => void seen.push(message.id))
    await until('ten', () => seen.length === 10)
    await first.stop()
    await send(stream, 5, 10)
    const second = await member(stream, ({ message }) => void seen.push(message.id))
    await until('fifteen', () => seen.length === 15)
    await second.stop()
    expect(new Set(seen).size).toBe(15)
    expect((await test.jsm.streams.info(stream)).state.messages).toBe(0)
  })

  it('begins where `startFrom` says, where the group was never there before', async () => {
    const stream = await test.stream()
    await send(stream, 5)
    const seen: string[] = []
    const one = await member(stream, ({ message }) => void seen.push(message.id), { startFrom: 'latest' })
    await until('owned', () => (one.consumer.health().details['sources'] as unknown[]).length === 1)
    await send(stream, 1, 50)
    await until('the later one', () => seen.includes('m50'))
    await one.stop()
    expect(seen).toEqual(['m50'])
  })

  it('N-7: one id on two subjects of a stream is two messages', async () => {
    const stream = await test.stream()
    const publisher = natsPublisher(test.js)
    await publisher.publish([outgoing({ destination: `${stream}.a`, id: 'm', body: null })])
    await publisher.publish([outgoing({ destination: `${stream}.b`, id: 'm', body: null })])
    await publisher.publish([outgoing({ destination: `${stream}.b`, id: 'm', body: null })])
    expect(await test.arrived(stream)).toHaveLength(2)
  })

  it('N-14, N-15, N-16: refuses for good what NATS can never store, and sends the others', async () => {
    const stream = await test.stream()
    const publisher = natsPublisher(test.js, { jsm: test.jsm })
    const good = outgoing({ destination: `${stream}.a`, id: 'good', body: null })
    const large = headersFrom([['large', 'x'.repeat(70_000)]])
    const error: unknown = await publisher
      .publish([
        outgoing({ destination: `${stream}.*`, body: null }),
        outgoing({ destination: 'nobody.has.this', body: null }),
        good,
        outgoing({ destination: `${stream}.a`, headers: large, body: null }),
        outgoing({ destination: `${stream}.a`, body: Buffer.alloc(2_000_000) }),
      ])
      .catch((caught: unknown) => caught)
    if (!isPublishError(error)) throw error
    expect(error.failures.map(({ index, permanent }) => [index, permanent]).toSorted()).toEqual([
      [0, true],
      [1, true],
      [3, true],
      [4, true],
    ])
    expect((await test.arrived(stream)).map(({ id }) => id)).toEqual(['good'])
  })

  it('N-18: what a full stream refuses may be taken later', async () => {
    const stream = await test.stream({ max_msgs: 20, discard: 'new' })
    const messages = Array.from({ length: 40 }, (_, n) =>
      outgoing({ destination: `${stream}.a`, id: `m${n}`, body: null }),
    )
    const error: unknown = await natsPublisher(test.js, { jsm: test.jsm })
      .publish(messages)
      .catch((caught: unknown) => caught)
    if (!isPublishError(error)) throw error
    expect(error.failures.map(({ permanent }) => permanent)).toEqual(Array.from({ length: 20 }, () => false))
    expect((await test.arrived(stream)).map(({ id }) => id)).toEqual(messages.slice(0, 20).map(({ id }) => id))
  })

  it('reads the headers of a message with a name that the client refuses to read', async () => {
    const stream = await test.stream()
    const seen: unknown[] = []
    const one = await member(
      stream,
      ({ message: { id, key, headers } }) => void seen.push([id, key, headers['bad name']]),
    )
    // The client's own API lets no such name out. Other clients do.
    const written = natsHeaders()
    const { headers } = written as unknown as { readonly headers: Map<string, string[]> }
    for (const [name, value] of [
      ['bad name', '1'],
      ['message-key', 'k'],
      ['message-id', 'm'],
    ] as const)
      headers.set(name, [value])
    await test.js.publish(`${stream}.0`, 'x', { headers: written })
    await until('the message', () => seen.length === 1)
    await one.stop()
    expect(seen).toEqual([['m', 'k', '1']])
  })

  it('notes a message without an id, and handles it', async () => {
    const stream = await test.stream()
    await test.js.publish(`${stream}.0`, 'plain')
    const seen: string[] = []
    const one = await member(stream, ({ message }) => void seen.push(message.id))
    await until('the message', () => seen.length === 1)
    expect(seen[0]).toMatch(new RegExp(`^${stream}@\\d+/1$`))
    expect(one.consumer.health().details['notes']).toEqual([expect.stringContaining('messages without an id')])
    await one.stop()
  })

  it('nacks a message whose id function throws, and handles it under its own id later', async () => {
    const stream = await test.stream()
    await send(stream, 1)
    const seen: string[] = []
    let tries = 0
    const one = await member(stream, ({ message }) => void seen.push(message.id), {
      id: () => {
        if (tries++ === 0) throw new Error('the registry is away')
        return 'own'
      },
    })
    await until('the message', () => seen.length > 0)
    await one.stop()
    expect(seen).toEqual(['own'])
  })

  it('N-19: waits for a server that is away at the start, not ready, and begins once it is there', async () => {
    const stream = await test.stream()
    await send(stream, 3)
    const proxy = await faultProxy(natsUrl())
    const seen: string[] = []
    const one = await member(
      stream,
      ({ message }) => void seen.push(message.id),
      {},
      `nats://${proxy.address}`,
      () => proxy.refuse(),
    )
    // Longer than a question waits for its answer.
    await sleep(3_000)
    expect(one.consumer.health().ready).toBe(false)
    proxy.restore()
    await until('all three', () => seen.length === 3)
    await until('ready', () => one.consumer.health().ready)
    await one.stop()
    await proxy.dispose()
  })

  it('names a stream that does not exist, in one error at the start', async () => {
    const one = await member('missing', () => {})
    await expect(one.running).rejects.toThrow("nats: stream: 'missing' does not exist")
  })
})
