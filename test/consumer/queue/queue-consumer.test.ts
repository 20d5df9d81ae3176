import { describe, expect, it } from 'vitest'
import { queueConsumer, type QueueConsumerOptions } from '../../../src/consumer/queue/queue-consumer.ts'
import type { Ownership, QueueHost, QueueSession } from '../../../src/consumer/queue/queue-client.ts'
import { PublishError, RetryLater } from '../../../src/core/errors.ts'
import { subscribe } from '../../../src/core/events.ts'
import { headersFrom } from '../../../src/core/message.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { fakeClock } from '../../../src/testing/index.ts'

interface Received {
  readonly id: string
  readonly key: string | null
}

/** A broker that remembers what it was told; handlers end when the test says so. */
function bench({
  extendMs,
  positions,
  ackFails,
  together,
  cumulative,
  isFirst,
  ...options
}: Partial<QueueConsumerOptions<Received>> & {
  readonly extendMs?: number
  positions?: boolean
  ackFails?: boolean
  /** The broker can ack all up to a message. */
  together?: boolean
  /** Each of its acks takes in all before. */
  cumulative?: boolean
  isFirst?: (record: Received) => boolean
} = {}) {
  const clock = fakeClock()
  const calls: string[] = []
  const firsts: string[] = []
  const running = new Map<string, PromiseWithResolvers<void>>()
  const signals = new Map<string, AbortSignal>()
  let host: QueueHost<Received> | undefined
  const consumer = queueConsumer<Received>({
    group: 'billing',
    clock,
    redeliverMs: 100,
    drainMs: 1000,
    pipeline: pipeline('p').handle(({ message, signal }) => {
      const ends = Promise.withResolvers<void>()
      running.set(message.id, ends)
      signals.set(message.id, signal)
      return ends.promise.finally(() => running.delete(message.id))
    }),
    client: {
      system: 'test',
      ...(extendMs === undefined ? {} : { extendMs }),
      ...(positions === undefined ? {} : { positions }),
      ...(isFirst === undefined ? {} : { isFirst }),
      keyOf: ({ key }) => key,
      deliveryOf({ id, key }, source, { pipeline, group, attempt, first = false, signal }) {
        firsts.push(`${id} ${first}`)
        return {
          message: { id, type: 't', key, headers: headersFrom([]), body: null, timeMs: 0 },
          bytes: null,
          pipeline,
          origin: { system: 'test', destination: source, partition: null, position: null, group },
          attempt,
          first,
          signal,
          raw: null,
        }
      },
      async open(given) {
        host = given
        return { quiet: () => calls.push('quiet'), leave: async () => void calls.push('left') }
      },
    },
    ...options,
  })
  const stop = new AbortController()
  const run = consumer.run(stop.signal)
  run.catch(() => {})
  const session = (name: string): QueueSession<Received> => ({
    credit: (n) => void calls.push(`${name} credit ${n}`),
    ack({ id }) {
      calls.push(`${name} ack ${id}`)
      return ackFails === true ? Promise.reject(new Error('no connection')) : undefined
    },
    ...(cumulative === undefined ? {} : { cumulative }),
    ...(together === true && {
      ackUpTo({ id }: Received) {
        calls.push(`${name} ack up to ${id}`)
        if (ackFails === true) throw new Error('channel closed')
      },
    }),
    ...(extendMs === undefined ? {} : { extend: ({ id }: Received) => void calls.push(`${name} extend ${id}`) }),
    leave: async (rest) => void calls.push(`${name} leave ${rest.map(({ id }) => id).join(' ')}`),
  })
  const settle = () => clock.advance(0)
  return {
    clock,
    calls,
    firsts,
    consumer,
    run,
    signals,
    stop: () => stop.abort(new Error('SIGTERM')),
    settle,
    runs: () => [...running.keys()],
    async own(name: string, source = 'orders'): Promise<Ownership<Received>> {
      await settle()
      if (host === undefined) throw new Error('not opened')
      return host.own(source, session(name))
    },
    async end(id: string, error?: unknown) {
      if (error === undefined) running.get(id)?.resolve()
      else running.get(id)?.reject(error)
      await settle()
    },
    /** In one turn of the event loop. */
    async endTogether(...ids: string[]) {
      for (const id of ids) running.get(id)?.resolve()
      await settle()
    },
  }
}

const message = (id: string, key: string | null = id): Received => ({ id, key })

describe('a consumer over a queue', () => {
  it('acks each message by itself as it ends, in any order', async () => {
    const { own, end, calls } = bench()
    const owned = await own('a')
    for (const id of ['1', '2', '3']) owned.deliver(message(id))
    await end('3')
    await end('1')
    expect(calls).toEqual(['a credit 256', 'a ack 3', 'a ack 1'])
  })

  it('nacks nothing: a message that fails waits un-acked, its key behind it, and runs again as the next attempt', async () => {
    const { own, end, calls, clock, runs } = bench()
    const owned = await own('a')
    owned.deliver(message('1', 'ada'))
    owned.deliver(message('2', 'ada'))
    await end('1', new Error('no'))
    expect(runs()).toEqual([])
    await clock.advance(100)
    expect(runs()).toEqual(['1'])
    await end('1')
    expect(runs()).toEqual(['2'])
    expect(calls.filter((call) => call.includes('ack'))).toEqual(['a ack 1'])
  })

  it('R-7: acks nothing on another ownership, and nothing late', async () => {
    const { own, end, calls, runs, signals } = bench()
    const first = await own('a')
    first.deliver(message('1', 'ada'))
    first.lost(new Error('the channel is gone'))
    expect(signals.get('1')?.aborted).toBe(true)
    const second = await own('b')
    second.deliver(message('1', 'ada'))
    // The key still runs in the ownership before.
    expect(runs()).toEqual(['1'])
    await end('1')
    expect(calls.filter((call) => call.includes('ack'))).toEqual([])
    expect(runs()).toEqual(['1'])
    await end('1')
    expect(calls.filter((call) => call.includes('ack'))).toEqual(['b ack 1'])
    expect(first.deliver(message('9'))).toBe(false)
  })

  it('hands a source over once what runs has ended and was acked, and gives the rest back in its order', async () => {
    const { own, end, calls, settle, runs } = bench({ concurrency: 2 })
    const owned = await own('a')
    for (const id of ['1', '2', '3', '4']) owned.deliver(message(id))
    const over = owned.handOver('fair share')
    await settle()
    await end('1')
    expect(calls).not.toContain('a leave 3 4')
    await end('2')
    await over
    expect(calls.slice(1)).toEqual(['a ack 1', 'a ack 2', 'a leave 3 4'])
    expect(runs()).toEqual([])
    expect(owned.isOver).toBe(true)
  })

  it('with positions, a hand-over fills the gaps first', async () => {
    const { own, end, calls, settle, runs } = bench({ concurrency: 2, positions: true })
    const owned = await own('a')
    for (const [id, key] of [
      ['1', 'x'],
      ['2', 'x'],
      ['3', 'y'],
      ['4', 'z'],
    ] as const)
      owned.deliver(message(id, key))
    expect(runs()).toEqual(['1', '3'])
    const over = owned.handOver('fair share')
    await settle()
    await end('1')
    expect(runs()).toEqual(['3', '2'])
    await end('2')
    await end('3')
    await over
    expect(calls.at(-1)).toBe('a leave 4')
  })

  it('does not ack what ends after its hand-over ran out of time', async () => {
    const { own, end, calls, clock, signals } = bench()
    const owned = await own('a')
    owned.deliver(message('1'))
    const over = owned.handOver('stop')
    await clock.advance(1000)
    expect(signals.get('1')?.aborted).toBe(true)
    await clock.advance(1000)
    await over
    await end('1')
    expect(calls.slice(1)).toEqual(['a leave 1'])
  })

  it('extends everything in memory, waiting or running, until it is acked', async () => {
    const { own, end, calls, clock } = bench({ extendMs: 3000, concurrency: 1 })
    const owned = await own('a')
    owned.deliver(message('1'))
    owned.deliver(message('2'))
    await clock.advance(1000)
    await end('1')
    await clock.advance(1000)
    expect(calls.filter((call) => call.includes('extend'))).toEqual(['a extend 1', 'a extend 2', 'a extend 2'])
  })

  it('offers places again in lots', async () => {
    const { own, end, calls } = bench({ buffer: 8 })
    const owned = await own('a')
    for (let n = 0; n < 8; n++) owned.deliver(message(`${n}`))
    for (let n = 0; n < 5; n++) await end(`${n}`)
    expect(calls.filter((call) => call.includes('credit'))).toEqual(['a credit 8', 'a credit 2', 'a credit 2'])
  })

  it('stops by handing over every source, and calls nothing again that only waits', async () => {
    const { own, end, calls, run, stop, settle, clock } = bench()
    const owned = await own('a')
    owned.deliver(message('1'))
    owned.deliver(message('2'))
    await end('1', new RetryLater(10))
    stop()
    await settle()
    await clock.advance(500)
    await end('2')
    await run
    expect(calls.slice(1)).toEqual(['quiet', 'a ack 2', 'a leave 1', 'left'])
    expect(clock.waiting).toBe(0)
  })

  it('takes for the first what the broker guarantees to be, and never what it runs again', async () => {
    const { own, end, firsts, clock } = bench({ isFirst: ({ id }) => id !== 'again' })
    const owned = await own('a')
    owned.deliver(message('1'))
    owned.deliver(message('again'))
    await end('1', new Error('no'))
    await clock.advance(100)
    expect(firsts).toEqual(['1 true', 'again false', '1 false'])
    const silent = bench()
    ;(await silent.own('a')).deliver(message('1'))
    await silent.settle()
    expect(silent.firsts).toEqual(['1 false'])
  })

  it('takes for the first, from a broker with positions, what comes after twice ahead handled ones of an ownership', async () => {
    const { own, end, firsts, settle } = bench({ positions: true, ahead: 2, isFirst: () => true })
    const owned = await own('a')
    for (let n = 1; n <= 6; n++) {
      owned.deliver(message(`${n}`))
      await settle()
      await end(`${n}`)
    }
    expect(firsts).toEqual(['1 false', '2 false', '3 false', '4 false', '5 true', '6 true'])
    // Somebody else may have had it meanwhile.
    const again = await own('b')
    again.deliver(message('7'))
    await settle()
    expect(firsts.at(-1)).toBe('7 false')
  })

  it('starts messages of the sources with priority first, and gives the others their part of the starts', async () => {
    const { own, end, runs, settle } = bench({ concurrency: 1, priority: { topics: ['orders'], floor: 0.25 } })
    const [low, high] = [await own('a', 'reports'), await own('b', 'orders')]
    const started: string[] = []
    for (let n = 0; n < 20; n++) low.deliver(message(`low ${n}`))
    for (let n = 0; n < 20; n++) high.deliver(message(`high ${n}`))
    for (let n = 0; n < 17; n++) {
      await settle()
      const [id = ''] = runs()
      started.push(id)
      await end(id)
    }
    // The first one was alone when it came.
    expect(started.filter((id) => id.startsWith('low'))).toEqual(['low 0', 'low 1', 'low 2', 'low 3', 'low 4'])
  })

  it('refuses a second run', async () => {
    const { consumer } = bench()
    await expect(consumer.run(new AbortController().signal)).rejects.toMatchObject({ code: 'bad-order' })
  })

  it('names what it holds, and why it is not ready', async () => {
    const { own, end, clock, consumer } = bench({ hungAfterMs: 5000 })
    const owned = await own('a')
    owned.deliver(message('1'))
    await end('1', new RetryLater(60_000, { because: 'the bank is closed' }))
    expect(consumer.health()).toMatchObject({
      ready: true,
      details: { held: 1, heldMessages: [{ messageId: '1', source: 'orders', because: 'the bank is closed' }] },
    })
    await clock.advance(5000)
    expect(consumer.health()).toMatchObject({
      ready: false,
      details: { reasons: ['message 1 has held its key for 5000 ms: the bank is closed'] },
    })
  })

  it('is not ready as soon as the dead letter of a message is refused for good', async () => {
    const { own, end, consumer } = bench()
    const owned = await own('a')
    owned.deliver(message('1'))
    const refused = new PublishError('refused', [{ index: 0, error: new Error('unknown topic'), permanent: true }])
    await end('1', new RetryLater(60_000, { because: 'orders.dead-letters did not take it', cause: refused }))
    const { ready, details } = consumer.health()
    expect(ready).toBe(false)
    expect(details).toMatchObject({
      reasons: ['message 1 is stuck, and its key waits behind it: orders.dead-letters did not take it'],
      heldMessages: [{ messageId: '1', stuck: true }],
    })
  })

  it('stays ready while a message waits for a target that may take it later', async () => {
    const { own, end, consumer } = bench()
    const owned = await own('a')
    owned.deliver(message('1'))
    const outage = new PublishError('failed', [{ index: 0, error: new Error('not the leader'), permanent: false }])
    await end('1', new RetryLater(60_000, { cause: outage }))
    expect(consumer.health()).toMatchObject({ ready: true, details: { heldMessages: [{ stuck: false }] } })
  })

  it('R-8: acks together what ended together and has nothing unfinished before it, and the others one by one', async () => {
    const { own, endTogether, calls, settle } = bench({ together: true })
    const owned = await own('a')
    for (const id of ['1', '2', '3', '4', '5', '6', '7']) owned.deliver(message(id))
    await settle()
    await endTogether('5', '2', '1')
    expect(calls.slice(1)).toEqual(['a ack up to 2', 'a ack 5'])
    await endTogether('7', '4')
    expect(calls.slice(3)).toEqual(['a ack 7', 'a ack 4'])
    await endTogether('6', '3')
    expect(calls.slice(5)).toEqual(['a ack up to 6'])
  })

  it('acks one that ended alone by itself, and none that was nacked', async () => {
    const { own, end, calls, clock } = bench({ together: true })
    const owned = await own('a')
    for (const id of ['1', '2', '3']) owned.deliver(message(id))
    await end('1')
    await end('2', new Error('no'))
    await end('3')
    expect(calls.slice(1)).toEqual(['a ack 1', 'a ack 3'])
    await clock.advance(100)
    await end('2')
    expect(calls.slice(3)).toEqual(['a ack 2'])
  })

  it('with cumulative acks, acks what has nothing unfinished before it, and extends what is done until then', async () => {
    const { own, endTogether, calls, settle, clock } = bench({ cumulative: true, positions: true, extendMs: 3000 })
    const owned = await own('a')
    for (const id of ['1', '2', '3', '4']) owned.deliver(message(id))
    await settle()
    await endTogether('3', '2')
    expect(calls.slice(1)).toEqual([])
    await clock.advance(1000)
    expect(calls.slice(1)).toEqual(['a extend 1', 'a extend 2', 'a extend 3', 'a extend 4'])
    await endTogether('1')
    expect(calls.slice(5)).toEqual(['a ack 3'])
    const over = owned.handOver('stop')
    await settle()
    await endTogether('4')
    await over
    expect(calls.slice(6)).toEqual(['a ack 4', 'a leave '])
  })

  it('acks what ended before it hands over, and nothing after its channel was lost', async () => {
    const { own, endTogether, calls, settle } = bench({ together: true })
    const first = await own('a')
    for (const id of ['1', '2', '3']) first.deliver(message(id))
    const over = first.handOver('fair share')
    await settle()
    await endTogether('1', '2', '3')
    await over
    expect(calls.slice(1)).toEqual(['a ack up to 3', 'a leave '])
    const second = await own('b')
    for (const id of ['4', '5']) second.deliver(message(id))
    await settle()
    const ended = endTogether('4', '5')
    second.lost(new Error('the channel is gone'))
    await ended
    expect(calls.slice(3)).toEqual(['b credit 256'])
  })

  it('tells of acks that failed together, once, and goes on', async () => {
    const failed: unknown[] = []
    const unsubscribe = subscribe('consumer-changed', ({ change, group }) => {
      if (group === 'together' && change === 'ack-failed') failed.push(change)
    })
    const { own, endTogether, consumer } = bench({ group: 'together', together: true, ackFails: true })
    const owned = await own('a')
    owned.deliver(message('1'))
    owned.deliver(message('2'))
    await endTogether('1', '2')
    unsubscribe()
    expect(failed).toEqual(['ack-failed'])
    expect(consumer.health().ready).toBe(true)
  })

  it('tells of an ack that failed, and goes on', async () => {
    const failed: unknown[] = []
    const unsubscribe = subscribe('consumer-changed', ({ change, group }) => {
      if (group === 'acks' && change === 'ack-failed') failed.push(change)
    })
    const { own, end, consumer } = bench({ group: 'acks', ackFails: true })
    const owned = await own('a')
    owned.deliver(message('1'))
    await end('1')
    unsubscribe()
    expect(failed).toEqual(['ack-failed'])
    expect(consumer.health().ready).toBe(true)
  })
})
