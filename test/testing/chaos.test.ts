import { describe, expect, it } from 'vitest'
import { headersFrom, idempotency, outgoing, pipeline, type Outgoing, type Publisher } from 'holdfast'
import { memoryBroker, memoryConsumer, memoryIdempotencyStore, memoryOutbox, memoryOutboxStore } from 'holdfast/memory'
import { outboxRelay } from 'holdfast/outbox'
import { chaos, fakeClock, type Fault } from 'holdfast/testing'

const message = { id: 'm1', body: null }

function listed() {
  const struck: string[] = []
  return { struck, onFault: ({ fault, call }: { fault: Fault; call: string }) => void struck.push(`${fault} ${call}`) }
}

describe('chaos', () => {
  it('makes a store lose answers that the pipeline then asks for again, and nothing happens twice', async () => {
    const { struck, onFault } = listed()
    const faults = ['fail', 'lose-reply', 'store-down'] as const
    const clock = fakeClock()
    const options = { seed: 3, faults, rate: 0.4, slowMs: 500, onFault, clock }
    const store = chaos(memoryIdempotencyStore({ clock }), options)
    let runs = 0
    const orders = pipeline('orders')
      .use(idempotency({ store, clock, leaseMs: 1_000 }))
      .handle(async () => void runs++)
    const outcomes: string[] = []
    for (let i = 0; i < 40; i++) {
      const outcome = orders.dispatch({ message }).catch((error: unknown) => (error instanceof Error ? error.name : ''))
      // Whatever was not released lapses with its lease.
      await clock.advance(2_000)
      outcomes.push(await outcome)
    }
    const settled = outcomes.filter((outcome) => outcome !== 'RetryLater')
    expect(settled.slice(1)).toEqual(settled.slice(1).map(() => 'duplicate'))
    expect(settled.length).toBeGreaterThan(5)
    // A completion whose answer is lost is asked for again under the same claim, never by running again.
    expect(runs).toBe(1)
    expect(struck.length).toBeGreaterThan(5)
  })

  it('troubles the same calls for the same seed, and others for another', async () => {
    async function strikes(seed: number): Promise<readonly string[]> {
      const { struck, onFault } = listed()
      const publisher = chaos<Publisher>({ publish: async () => {} }, { seed, rate: 0.5, slowMs: 0, onFault })
      for (let i = 0; i < 30; i++)
        await publisher.publish([outgoing({ destination: 'a', body: null })]).catch(() => undefined)
      return struck
    }
    expect(await strikes(1)).toEqual(await strikes(1))
    expect(await strikes(1)).not.toEqual(await strikes(2))
  })

  it('lets a publisher take only some of a batch, and say which', async () => {
    const taken: Outgoing[] = []
    const publisher = chaos<Publisher>(
      { publish: async (messages) => void taken.push(...messages) },
      { seed: 1, rate: 1, faults: ['partial-batch'] },
    )
    const batch = ['a', 'b', 'c'].map((id) =>
      outgoing({ id, destination: 'orders', body: null, headers: headersFrom([]) }),
    )
    const failures: unknown[] = []
    for (let i = 0; i < 20 && failures.length === 0; i++) {
      taken.length = 0
      await publisher.publish(batch).catch((error: unknown) => failures.push(error))
    }
    expect(taken.map(({ id }) => id)).toEqual(['a'])
    expect(failures).toMatchObject([{ code: 'publish-failed', failures: [{ index: 1 }, { index: 2 }] }])
  })

  it('delivers twice, late and again through any transport, and a wrapped handler handles once', async () => {
    const { struck, onFault } = listed()
    const handled: string[] = []
    const broker = memoryBroker()
    const stopping = new AbortController()
    const done = Promise.withResolvers<void>()
    const faults = ['slow', 'fail', 'lose-reply', 'duplicate', 'redelivery'] as const
    const consumer = chaos(memoryConsumer, { seed: 5, rate: 0.6, slowMs: 1, faults, onFault })({
      broker,
      groupId: 'billing',
      topics: ['orders'],
      redeliverMs: 1,
      pipeline: pipeline('billing')
        .use(idempotency({ store: memoryIdempotencyStore() }))
        .handle(async ({ message: { id } }) => {
          handled.push(id)
          if (handled.length === 60) done.resolve()
        }),
    })
    const publisher = broker.publisher()
    const running = consumer.run(stopping.signal)
    for (let i = 0; i < 60; i++)
      await publisher.publish([outgoing({ id: `m${i}`, destination: 'orders', key: `k${i % 3}`, body: null })])
    await done.promise
    stopping.abort()
    await running
    expect(new Set(handled).size).toBe(60)
    expect(handled).toHaveLength(60)
    expect(new Set(struck.map((one) => one.split(' ')[0]))).toEqual(new Set(faults))
  })

  it('moves the partition while a handler works: its signal aborts, and the message comes again', async () => {
    const signals: AbortSignal[] = []
    const clock = fakeClock()
    const orders = chaos(
      pipeline('orders').handle(async ({ signal }) => {
        signals.push(signal)
        await new Promise((resolve) => signal.addEventListener('abort', resolve))
      }),
      { seed: 1, rate: 1, faults: ['rebalance'], slowMs: 100, clock },
    )
    const outcome = orders.dispatch({ message }).catch((error: unknown) => error)
    await clock.advance(100)
    expect(await outcome).toMatchObject({ code: 'retry-later', afterMs: 0 })
    expect(signals.map(({ aborted }) => aborted)).toEqual([true])
  })

  it(
    'troubles an outbox store and the leases that it gives, and a relay loses nothing',
    { timeout: 60_000 },
    async () => {
      const { struck, onFault } = listed()
      const clock = fakeClock()
      const store = memoryOutboxStore({ clock, shards: 2 })
      const published = new Set<string>()
      const relay = outboxRelay({
        store: chaos(store, { seed: 2, rate: 0.3, slowMs: 50, onFault, clock }),
        publisher: { publish: async (messages) => messages.forEach(({ id }) => published.add(id)) },
        clock,
      })
      const stopping = new AbortController()
      const running = relay.run(stopping.signal)
      for (let i = 0; i < 40; i++) {
        const tx = store.begin()
        await memoryOutbox().add(tx, { id: `m${i}`, destination: 'orders', key: `k${i % 5}`, body: null })
        tx.commit()
        await clock.advance(1_000)
      }
      await clock.advance(120_000)
      stopping.abort()
      await clock.advance(120_000)
      await running
      expect(published.size).toBe(40)
      expect(struck.map((one) => one.split(' ')[1])).toEqual(
        expect.arrayContaining(['attend', 'claim', 'read', 'settle']),
      )
    },
  )

  it('refuses what it cannot trouble, and options that make no sense', () => {
    const wrong = chaos as (target: unknown, options: unknown) => unknown
    expect(() => wrong({}, { seed: 1 })).toThrow(
      'chaos: target must be a transport, a pipeline, a store or a publisher',
    )
    expect(() => wrong({ publish() {} }, {})).toThrow('chaos: seed must be an integer, got undefined')
    expect(() => wrong({ publish() {} }, { seed: 1, rate: 2 })).toThrow('chaos: rate must be between 0 and 1, got 2')
    expect(() => wrong({ publish() {} }, { seed: 1, faults: ['meteor'] })).toThrow(
      /^chaos: faults must be made of crash, .*, got 'meteor'$/,
    )
    expect(() => wrong({ claim() {} }, { seed: 1, faults: ['poison'] })).toThrow(
      /^chaos: faults must be some of those that a store knows \(fail, lose-reply, slow, store-down\), got/,
    )
    expect(() => (wrong(() => {}, { seed: 1 }) as (options: object) => void)({})).toThrow(
      'chaos: pipeline must be among the options of the consumer',
    )
  })
})
