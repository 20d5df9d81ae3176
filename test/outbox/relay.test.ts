import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { HoldfastError, PermanentError, PublishError } from '../../src/core/errors.ts'
import { subscribe, type Events } from '../../src/core/events.ts'
import { memoryOutbox, memoryOutboxStore, type MemoryOutboxStore } from '../../src/outbox/memory-store.ts'
import { outboxRelay, type OutboxRelay, type OutboxRelayOptions } from '../../src/outbox/relay.ts'
import type { OutboxMessage } from '../../src/outbox/outbox.ts'
import type { Outgoing, Publisher } from '../../src/core/publisher.ts'
import { fakeClock, type FakeClock } from '../../src/testing/fake-clock.ts'
import { target } from './support.ts'

describe('outboxRelay()', () => {
  let clock: FakeClock
  let store: MemoryOutboxStore
  const unsubscribe: (() => void)[] = []

  beforeEach(() => {
    clock = fakeClock()
    store = memoryOutboxStore({ clock, shards: 1 })
  })
  afterEach(() => {
    for (const end of unsubscribe.splice(0)) end()
  })

  interface Started extends OutboxRelay {
    readonly stop: () => void
    readonly done: Promise<void>
    ended(): boolean
  }

  function start(publisher: Publisher, options: Partial<OutboxRelayOptions> = {}): Started {
    const relay = outboxRelay({ store, publisher, clock, random: () => 0.5, ...options })
    const stopping = new AbortController()
    let ended = false
    const done = relay.run(stopping.signal).finally(() => (ended = true))
    return { ...relay, stop: () => stopping.abort(), done, ended: () => ended }
  }

  async function add(...messages: readonly (Partial<OutboxMessage> & { id: string })[]): Promise<void> {
    const tx = store.begin()
    await memoryOutbox().add(
      tx,
      messages.map((message) => ({ destination: 'orders', key: 'k', body: null, ...message })),
    )
    tx.commit()
  }

  function heard<Name extends keyof Events>(name: Name): Events[Name][] {
    const events: Events[Name][] = []
    unsubscribe.push(subscribe(name, (event) => events.push(event)))
    return events
  }

  const refusing = (reject: (messages: readonly Outgoing[]) => Error | null) =>
    target((messages) => {
      const error = reject(messages)
      if (error !== null) throw error
    })

  const failing = (messages: readonly Outgoing[], ids: readonly string[], permanent: boolean) => {
    const failures = messages
      .map(({ id }, index) => ({ id, index }))
      .filter(({ id }) => ids.includes(id))
      .map(({ index }) => ({ index, permanent, error: new Error('refused') }))
    return failures.length === 0 ? null : new PublishError('some were refused', failures)
  }

  it('O-6: waits an outage out and then goes on with the same messages in the same order; none is dead', async () => {
    let down = true
    const to = refusing(() => (down ? new Error('no broker') : null))
    const outages = heard('outbox-outage')
    await add({ id: 'a' }, { id: 'b' }, { id: 'c' })
    const relay = start(to)
    await clock.advance(60_000)
    expect(to.ids()).toEqual([])
    expect(outages.length).toBeGreaterThan(5)
    expect(Math.max(...outages.map(({ nextInMs }) => nextInMs))).toBeLessThanOrEqual(10_000)
    expect(relay.health()).toMatchObject({ live: true, ready: false, details: { outage: 'no broker' } })
    down = false
    await clock.advance(10_000)
    expect(to.ids()).toEqual(['a', 'b', 'c'])
    expect(store.dead).toEqual([])
    expect(relay.health()).toMatchObject({ ready: true, details: { outage: null, owned: [0] } })
    relay.stop()
    await clock.advance(1)
    await relay.done
  })

  it('O-7: sets aside what is refused for good, and lets the others go on', async () => {
    const dead = heard('outbox-dead')
    const to = refusing((messages) => failing(messages, ['bad'], true))
    await add({ id: 'a' }, { id: 'bad' }, { id: 'c' }, { id: 'd', key: 'other' })
    const relay = start(to)
    await clock.advance(1000)
    expect(to.ids()).toEqual(['a', 'c', 'd'])
    expect(store.dead).toMatchObject([{ error: 'Error: refused', row: { id: 'bad' } }])
    expect(dead).toMatchObject([{ messageId: 'bad', destination: 'orders', shard: 0 }])
    relay.stop()
    await clock.advance(1)
    await relay.done
  })

  it('O-7: judges a message only when it is refused alone, since a batch may be refused for its size', async () => {
    const to = refusing((messages) =>
      messages.length > 1
        ? failing(
            messages,
            messages.map(({ id }) => id),
            true,
          )
        : null,
    )
    await add({ id: 'a' }, { id: 'b' }, { id: 'c' })
    const relay = start(to)
    await clock.advance(1000)
    expect(to.ids()).toEqual(['a', 'b', 'c'])
    expect(store.dead).toEqual([])
    relay.stop()
    await clock.advance(1)
    await relay.done
  })

  it('O-6: takes a PublishError that names none of its messages for an outage', async () => {
    for (const named of [[], [7], [-1], [0.5]]) {
      let down = true
      const to = target(() => {
        const failures = named.map((index) => ({ index, error: new Error('lost'), permanent: true }))
        if (down) return Promise.reject(new PublishError('some failed', failures))
      })
      await add({ id: 'a' })
      const relay = start(to)
      await clock.advance(5000)
      expect(relay.health()).toMatchObject({ ready: false, details: { reason: 'some failed' } })
      down = false
      await clock.advance(10_000)
      expect(to.ids().at(-1)).toBe('a')
      expect(store.dead).toEqual([])
      relay.stop()
      await clock.advance(1)
      await relay.done
    }
  })

  it('O-7: judges a page that is refused for good as a whole message by message', async () => {
    const to = refusing((messages) =>
      messages.some(({ id }) => id === 'bad') ? new PermanentError('a name that no broker takes') : null,
    )
    await add({ id: 'a' }, { id: 'bad' }, { id: 'b' })
    const relay = start(to)
    await clock.advance(1000)
    expect(to.ids()).toEqual(['a', 'b'])
    expect(store.dead).toMatchObject([{ error: 'PermanentError: a name that no broker takes', row: { id: 'bad' } }])
    relay.stop()
    await clock.advance(1)
    await relay.done
  })

  it('O-7: sets aside what is refused with an error that cannot be read', async () => {
    const hostile = Object.defineProperty(new Error(), 'message', {
      get: () => {
        throw new Error('not for you')
      },
    })
    const texts: readonly (readonly [unknown, string])[] = [
      [hostile, 'object: the thrown value cannot be read'],
      [Object.create(null), 'object: the thrown value cannot be read'],
      ['text', 'string: text'],
      [new Error('a\0b \ud83d'), 'Error: a\ufffdb \ufffd'],
    ]
    for (const [error, text] of texts) {
      const to = target((messages) => {
        const index = messages.findIndex(({ id }) => id === 'bad')
        if (index >= 0) throw new PublishError('refused', [{ index, error, permanent: true }])
      })
      await add({ id: 'bad' }, { id: 'b' })
      const relay = start(to)
      await clock.advance(1000)
      expect(to.ids()).toEqual(['b'])
      expect(store.dead.at(-1)?.error).toBe(text)
      expect(relay.health()).toMatchObject({ ready: true })
      relay.stop()
      await clock.advance(1)
      await relay.done
    }
  })

  it('is not ready while it cannot settle what it published, and says why', async () => {
    let broken = true
    const claim: MemoryOutboxStore['claim'] = async (...args) => {
      const lease = await store.claim(...args)
      if (lease === null) return null
      const settle: typeof lease.settle = (dead) =>
        broken ? Promise.reject(new Error('no room on the disk')) : lease.settle(dead)
      return { ...lease, settle }
    }
    await add({ id: 'a' })
    const relay = start(target(), { store: { ...store, claim } })
    await clock.advance(30_000)
    expect(relay.health()).toMatchObject({ ready: false, details: { reason: 'shard 0: no room on the disk' } })
    broken = false
    await clock.advance(15_000)
    expect(relay.health()).toMatchObject({ ready: true, details: { reason: null } })
    relay.stop()
    await clock.advance(1)
    await relay.done
  })

  it('is not ready while it can claim nothing, and says why', async () => {
    let claim: MemoryOutboxStore['claim'] = () => Promise.reject(new Error('permission denied'))
    const relay = start(target(), { store: { ...store, claim: (...args) => claim(...args) } })
    await clock.advance(5000)
    expect(relay.health()).toMatchObject({
      ready: false,
      details: { reason: 'no shard can be claimed: permission denied' },
    })
    claim = () => Promise.resolve(null)
    await clock.advance(5000)
    expect(relay.health()).toMatchObject({ ready: true })
    await clock.advance(30_000)
    expect(relay.health()).toMatchObject({
      ready: false,
      details: { reason: 'it holds none of the 1 shards, since others do not let go of them' },
    })
    claim = (...args) => store.claim(...args)
    await clock.advance(5000)
    expect(relay.health()).toMatchObject({ ready: true, details: { reason: null, owned: [0] } })
    relay.stop()
    await clock.advance(1)
    await relay.done
  })

  it('discards what expires before the broker has it, even during an outage, and says so', async () => {
    const expired = heard('outbox-expired')
    const published = heard('outbox-published')
    let down = true
    const to = refusing(() => (down ? new Error('no broker') : null))
    const expiresAt = clock.wall() + 30_000
    await add({ id: 'a' }, { id: 'b', expiresAt }, { id: 'c', expiresAt: new Date(clock.wall() + 600_000) })
    const relay = start(to)
    await clock.advance(20_000)
    expect(expired).toEqual([])
    await clock.advance(25_000)
    expect(expired).toEqual([
      { relay: expect.any(String) as string, shard: 0, messageId: 'b', destination: 'orders', expiredMs: expiresAt },
    ])
    down = false
    await clock.advance(15_000)
    expect(to.ids()).toEqual(['a', 'c'])
    expect(published).toMatchObject([{ messages: 2, dead: 0 }])
    expect(store.dead).toEqual([])
    for (const wrong of [NaN, -1, 'soon', null])
      await expect(add({ id: 'x', expiresAt: wrong as number })).rejects.toThrow(
        'has an expiresAt that is neither a date nor ms since 1970',
      )
    relay.stop()
    await clock.advance(1)
    await relay.done
  })

  it('ends at once where a call of the store never answers, and gives back a shard that is claimed too late', async () => {
    const hanging = () => new Promise<never>(() => {})
    for (const call of ['check', 'attend', 'rotate', 'status'] as const) {
      const stopListening = subscribe('outbox-status', () => {})
      const relay = start(target(), { store: { ...store, [call]: hanging } })
      await clock.advance(100)
      relay.stop()
      await clock.advance(1)
      expect(relay.ended(), call).toBe(true)
      stopListening()
    }
    let claimed: () => void = () => {}
    const slow: MemoryOutboxStore['claim'] = async (...args) => {
      await new Promise<void>((resolve) => (claimed = resolve))
      return store.claim(...args)
    }
    const relay = start(target(), { store: { ...store, claim: slow } })
    await clock.advance(100)
    relay.stop()
    await clock.advance(1)
    expect(relay.ended()).toBe(true)
    claimed()
    await clock.advance(1)
    expect((await store.status()).shards).toMatchObject([{ held: false }])
  })

  it('waits no longer than drainMs for a store that does not answer a shard', async () => {
    const claim: MemoryOutboxStore['claim'] = async (...args) => {
      const lease = await store.claim(...args)
      return lease === null ? null : { ...lease, read: () => new Promise<never>(() => {}) }
    }
    const relay = start(target(), { store: { ...store, claim }, drainMs: 500 })
    await clock.advance(100)
    relay.stop()
    await clock.advance(600)
    expect(relay.ended()).toBe(true)
  })

  it('sends again only what was not confirmed', async () => {
    let first = true
    const to = refusing((messages) => {
      const error = first ? failing(messages, ['b'], false) : null
      first = false
      return error
    })
    await add({ id: 'a' }, { id: 'b', key: 'other' }, { id: 'c' })
    const relay = start(to)
    await clock.advance(1000)
    expect(to.ids()).toEqual(['a', 'c', 'b'])
    relay.stop()
    await clock.advance(1)
    await relay.done
  })

  it('O-17: publishes again under the same id what was not confirmed in time', async () => {
    let silent = true
    const to = target(() => (silent ? new Promise<void>(() => {}) : undefined))
    await add({ id: 'a' })
    const relay = start(to, { publishTimeoutMs: 5000 })
    await clock.advance(4000)
    silent = false
    await clock.advance(900)
    expect(to.ids()).toEqual([])
    await clock.advance(1000)
    expect(to.ids()).toEqual(['a'])
    relay.stop()
    await clock.advance(1)
    await relay.done
  })

  it('with oneInFlightPerKey, waits for the confirmation of a message before it sends the next one of its key', async () => {
    const batches: string[][] = []
    const to = target((messages) => void batches.push(messages.map(({ id }) => id)))
    await add(
      { id: 'a1', key: 'a' },
      { id: 'b1', key: 'b' },
      { id: 'a2', key: 'a' },
      { id: 'n', key: null },
      { id: 'a3', key: 'a' },
    )
    const relay = start(to, { oneInFlightPerKey: true })
    await clock.advance(1000)
    expect(batches).toEqual([['a1', 'b1', 'n'], ['a2'], ['a3']])
    relay.stop()
    await clock.advance(1)
    await relay.done
  })

  it('finishes what it has begun when it is told to stop, and gives its shards to the next at once', async () => {
    let confirm: () => void = () => {}
    const to = target(() => new Promise<void>((resolve) => (confirm = resolve)))
    await add({ id: 'a' })
    const relay = start(to)
    await clock.advance(100)
    relay.stop()
    await clock.advance(100)
    expect(relay.ended()).toBe(false)
    confirm()
    await clock.advance(1)
    await relay.done
    expect(to.ids()).toEqual(['a'])
    expect((await store.status()).shards.every(({ held }) => !held)).toBe(true)
    const next = target()
    const successor = start(next)
    await add({ id: 'b' })
    await clock.advance(1000)
    expect(next.ids()).toEqual(['b'])
    successor.stop()
    await clock.advance(1)
    await successor.done
  })

  it('ends after drainMs even where the broker never answers; the message is read again by the next', async () => {
    await add({ id: 'a' })
    const relay = start(
      target(() => new Promise<void>(() => {})),
      { drainMs: 2000 },
    )
    await clock.advance(100)
    relay.stop()
    await clock.advance(1900)
    expect(relay.ended()).toBe(false)
    await clock.advance(200)
    expect(relay.ended()).toBe(true)
    const next = target()
    const successor = start(next)
    await clock.advance(1000)
    expect(next.ids()).toEqual(['a'])
    successor.stop()
    await clock.advance(1)
    await successor.done
  })

  it('O-5: shares the shards out, gives surplus ones to newcomers, and takes over from the dead', async () => {
    store = memoryOutboxStore({ clock, shards: 4 })
    const changes = heard('outbox-shard-changed')
    const owned = (relay: OutboxRelay) => relay.health().details['owned'] as number[]
    const first = start(target(), { name: 'first' })
    await clock.advance(2000)
    expect(owned(first)).toEqual([0, 1, 2, 3])
    const second = start(target(), { name: 'second' })
    const third = start(target(), { name: 'third' })
    await clock.advance(5000)
    expect([first, second, third].map((relay) => owned(relay).length).sort()).toEqual([1, 1, 2])
    expect(changes.filter(({ change }) => change === 'released')).toHaveLength(2)
    second.stop()
    third.stop()
    await clock.advance(5000)
    expect(owned(first)).toEqual([0, 1, 2, 3])
    first.stop()
    await clock.advance(1)
    await Promise.all([first.done, second.done, third.done])
  })

  it('stops publishing a shard whose lease it has lost, and does not settle it', async () => {
    let confirm: () => void = () => {}
    const signals: AbortSignal[] = []
    const slow: Publisher = {
      publish: (_, options) => {
        if (options?.signal !== undefined) signals.push(options.signal)
        return new Promise<void>((resolve) => (confirm = resolve))
      },
    }
    await add({ id: 'a' })
    const relay = start(slow, { name: 'zombie' })
    await clock.advance(100)
    const [shard] = (await store.status()).shards
    expect(shard).toMatchObject({ owner: 'zombie', held: true })
    // Its lease runs out in the store while it goes on, as when the process stood still.
    await store.leave('zombie')
    const taken = await store.claim('successor', 60_000, [])
    await clock.advance(10_000)
    expect(signals[0]?.aborted).toBe(true)
    confirm()
    await clock.advance(1000)
    expect((await taken?.read(10, 1000)) as unknown[]).toHaveLength(1)
    relay.stop()
    await clock.advance(20_000)
    await relay.done
  })

  it('looks at once when it is poked, and after a tenth of the quiet otherwise', async () => {
    const to = target()
    const relay = start(to, { minPollMs: 5, maxPollMs: 60_000, duePollMs: 1e6 })
    await clock.advance(100_000)
    await add({ id: 'a' })
    await clock.advance(100)
    expect(to.ids()).toEqual([])
    relay.poke()
    await clock.advance(1)
    expect(to.ids()).toEqual(['a'])
    await clock.advance(100)
    await add({ id: 'b' })
    await clock.advance(15)
    expect(to.ids()).toEqual(['a', 'b'])
    relay.stop()
    await clock.advance(1)
    await relay.done
  })

  it('leaves more to gather where messages come several at a time, and looks sooner where they come alone', async () => {
    const to = target()
    const relay = start(to, { minPollMs: 5, duePollMs: 1e6 })
    await clock.advance(10)
    for (const several of [false, true]) {
      await add({ id: `a ${several}` }, ...(several ? [{ id: 'and another' }] : []))
      relay.poke()
      await clock.advance(1)
      await add({ id: `b ${several}` })
      await clock.advance(6)
      expect(to.ids().includes(`b ${several}`)).toBe(!several)
      await clock.advance(20)
      expect(to.ids()).toContain(`b ${several}`)
    }
    relay.stop()
    await clock.advance(1)
    await relay.done
  })

  it('waits for a store that is not reachable, and refuses to run on one that cannot be worked with', async () => {
    const failures = heard('store-failed')
    let down = true
    const check = () => (down ? Promise.reject(new Error('ECONNREFUSED')) : Promise.resolve())
    const to = target()
    const relay = start(to, { store: { ...store, check } })
    await add({ id: 'a' })
    await clock.advance(5000)
    expect(relay.health()).toMatchObject({ live: true, ready: false, details: { lastError: 'ECONNREFUSED' } })
    expect(failures[0]).toMatchObject({ store: 'memory', operation: 'check' })
    down = false
    await clock.advance(15_000)
    expect(to.ids()).toEqual(['a'])
    relay.stop()
    await clock.advance(1)
    await relay.done

    const bad = () => Promise.reject(new HoldfastError('bad-schema', 'run migrate()'))
    const refused = start(target(), { store: { ...store, check: bad } })
    await expect(refused.done).rejects.toThrow('run migrate()')
    expect(refused.health()).toMatchObject({ live: false, ready: false })
  })

  it('publishes and cleans up nothing while the store says that an operator has to look', async () => {
    const told = heard('outbox-refused')
    let rotated = 0
    let reason: string | null = 'a restored dump'
    const watched = {
      ...store,
      attend: async (owner: string, leaseMs: number) => ({ ...(await store.attend(owner, leaseMs)), refused: reason }),
      rotate: () => {
        rotated++
        return Promise.resolve([])
      },
    }
    await add({ id: 'a' })
    const to = target()
    const relay = start(to, { store: watched, name: 'r' })
    await clock.advance(30_000)
    expect(to.ids()).toEqual([])
    expect(rotated).toBe(0)
    expect(told).toEqual([{ relay: 'r', reason: 'a restored dump' }])
    expect(relay.health()).toMatchObject({ ready: false, details: { refused: 'a restored dump' } })
    reason = null
    await clock.advance(10_000)
    expect(to.ids()).toEqual(['a'])
    expect(rotated).toBeGreaterThan(0)
    reason = 'a copied database'
    await clock.advance(10_000)
    expect(told.map(({ reason: why }) => why)).toEqual(['a restored dump', 'a copied database'])
    relay.stop()
    await clock.advance(1)
    await relay.done
  })

  it('tells how it is doing, where anybody listens', async () => {
    const statuses = heard('outbox-status')
    const published = heard('outbox-published')
    const ended = heard('outbox-relay-ended')
    await add({ id: 'a' }, { id: 'b' })
    const relay = start(target(), { name: 'r' })
    await clock.advance(30_000)
    expect(published).toMatchObject([{ relay: 'r', shard: 0, messages: 2, dead: 0 }])
    expect(statuses.at(-1)).toMatchObject({ relay: 'r', owned: [0], pending: 0, oldestAgeMs: null, unheld: 0 })
    expect(ended).toEqual([])
    relay.stop()
    await clock.advance(1)
    await relay.done
    expect(ended).toEqual([{ relay: 'r' }])
  })

  it('refuses options that make no sense, naming option and value', () => {
    const make = (options: Partial<OutboxRelayOptions>) => () => outboxRelay({ store, publisher: target(), ...options })
    expect(make({ leaseMs: 99 })).toThrow('outboxRelay: leaseMs must be a number of ms of at least 100, got 99')
    expect(make({ batchRows: 1.5 })).toThrow('outboxRelay: batchRows must be an integer of at least 1, got 1.5')
    expect(make({ name: '' })).toThrow("outboxRelay: name must be a text that is not empty, got ''")
    expect(() => outboxRelay({ store, publisher: {} as Publisher })).toThrow(
      'outboxRelay: publisher must be an object with publish()',
    )
  })
})
