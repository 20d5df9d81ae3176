import { describe, expect, it, vi } from 'vitest'
import { pipeline } from '../../src/core/pipeline.ts'
import { headersFrom, headerText } from '../../src/core/message.ts'
import { outgoing, publisher, type Outgoing } from '../../src/core/publisher.ts'
import { deadLetter } from '../../src/dead-letter/dead-letter.ts'
import { caused, flow, flowGraph, idFrom, replay, sideEffect } from '../../src/flow/index.ts'
import { memoryBroker, memoryConsumer, memoryOutbox, memoryOutboxStore } from '../../src/transports/memory/index.ts'

function recorder(options?: Parameters<typeof caused>[0]) {
  const sent: Outgoing[] = []
  const wire = publisher({ publish: async (messages: readonly Outgoing[]) => void sent.push(...messages) })
  return { sent, wire: wire.use(caused(options)) }
}
const headersOf = (message: Outgoing | undefined): Record<string, unknown> => ({ ...message?.headers })
const next = (headers: Readonly<Record<string, string>> = {}) =>
  outgoing({ destination: 'next', headers: headersFrom(Object.entries(headers)), body: null })

describe('flow() and caused()', () => {
  it('writes the cause into what a handler publishes', async () => {
    const { sent, wire } = recorder()
    const orders = pipeline('orders')
      .use(flow())
      .handle(() => wire.publish([next()]))
    await orders.dispatch({
      message: {
        id: 'o-1',
        body: null,
        headers: headersFrom([
          ['correlation-id', 'c-1'],
          ['hops', '3'],
        ]),
      },
    })
    expect(headersOf(sent[0])).toEqual({
      'correlation-id': 'c-1',
      'causation-id': 'o-1',
      hops: '4',
      producer: 'orders',
    })
  })

  it('begins a chain with a message that knows no cause, and outside a handler', async () => {
    const { sent, wire } = recorder({ service: 'shop' })
    await wire.publish([next()])
    expect(headersOf(sent[0])).toEqual({ 'correlation-id': sent[0]?.id, hops: '0', producer: 'shop' })
    const orders = pipeline('orders')
      .use(flow())
      .handle(() => wire.publish([next()]))
    await orders.dispatch({ message: { id: 'o-1', body: null } })
    expect(headersOf(sent[1])).toMatchObject({ 'correlation-id': 'o-1', hops: '1', producer: 'orders' })
  })

  it('keeps what an outbox wrote when the relay publishes it', async () => {
    const { sent, wire } = recorder({ service: 'relay' })
    const headers = { 'correlation-id': 'c-1', 'causation-id': 'o-1', hops: '2', producer: 'shop' }
    await wire.publish([next(headers)])
    expect(headersOf(sent[0])).toEqual(headers)
  })

  it('is not deceived by a handler that copies the headers of its message', async () => {
    const { sent, wire } = recorder()
    const orders = pipeline('orders')
      .use(flow())
      .handle(({ message }) => wire.publish([{ ...next(), headers: message.headers }]))
    await orders.dispatch({ message: { id: 'o-2', body: null, headers: headersFrom([['hops', '5']]) } })
    expect(headersOf(sent[0])).toMatchObject({ 'causation-id': 'o-2', hops: '6' })
  })

  it.each([
    ['a forged count', { hops: '-1' }, '1'],
    ['a count that is no number', { hops: '9e9' }, '1'],
    ['a correlation of 100 KB', { 'correlation-id': 'x'.repeat(100_000) }, '1'],
  ])('reads %s as none', async (_, headers, hops) => {
    const { sent, wire } = recorder()
    const orders = pipeline('orders')
      .use(flow())
      .handle(() => wire.publish([next()]))
    await orders.dispatch({ message: { id: 'o-1', body: null, headers: headersFrom(Object.entries(headers)) } })
    expect(headersOf(sent[0])).toMatchObject({ hops, 'correlation-id': 'o-1' })
  })

  it('is refused outside handleBatch, and twice', () => {
    expect(() =>
      pipeline('p')
        .use(flow())
        .handleBatch({ maxSize: 2 }, async () => {}),
    ).toThrow('handleBatch')
    expect(() =>
      pipeline('p')
        .use(flow())
        .use(flow())
        .handle(() => {}),
    ).toThrow('there are two flow stages')
  })

  // Two services that answer each other. Unguarded they go on for as long as the test lets them.
  async function pingPong(guarded: boolean, limit: number): Promise<{ messages: number; dead: number }> {
    const broker = memoryBroker({ partitions: 1 })
    const wire = broker.publisher()
    const out = publisher(wire).use(caused())
    let messages = 0
    const stop = new AbortController()
    const service = (name: string, to: string): Promise<void> => {
      const dead = pipeline(name).use(deadLetter({ to: wire, destination: 'dead' }))
      const work = (guarded ? dead.use(flow({ maxHops: 16 })) : dead).handle(async ({ message }) => {
        messages += 1
        if (messages < limit) await out.publish([outgoing({ destination: to, key: message.key, body: null })])
      })
      return memoryConsumer({ broker, groupId: name, topics: [name], pipeline: work }).run(stop.signal)
    }
    const running = [service('ping', 'pong'), service('pong', 'ping')]
    await out.publish([outgoing({ destination: 'ping', key: 'k', body: null })])
    await vi.waitFor(() => expect(guarded ? broker.messages('dead').length : messages).toBe(guarded ? 1 : limit))
    stop.abort()
    await Promise.all(running)
    return { messages, dead: broker.messages('dead').length }
  }

  it('ends two services that answer each other after 17 messages, with one dead letter', async () => {
    expect(await pingPong(true, 500)).toEqual({ messages: 17, dead: 1 })
    expect(await pingPong(false, 500)).toEqual({ messages: 500, dead: 0 })
  })
})

describe('replay() and sideEffect()', () => {
  const at = (position: string, partition = '0') => ({
    message: { id: `m-${position}`, body: null },
    origin: { destination: 'orders', partition, position },
  })

  // What lies at or above them is no replay (PR-6).
  it.each([
    ['below the position', { 'orders/0': 10n }, at('9'), true],
    ['at the position', { 'orders/0': 10n }, at('10'), false],
    ['a position of more digits', { 'orders/0': 10n }, at('100'), false],
    ['a partition without a position', { 'orders/0': 10n }, at('1', '1'), false],
    ['all', 'all', at('99'), true],
    ['none', 'none', at('0'), false],
  ] as const)('tells what was dealt with before: %s', async (_, until, incoming, expected) => {
    let seen: boolean | undefined
    const orders = pipeline('orders')
      .use(replay({ until }))
      .handle((delivery) => void (seen = delivery.replay))
    await orders.dispatch(incoming)
    expect(seen).toBe(expected)
  })

  it('leaves effects out in a replay, and refuses to publish', async () => {
    const { sent, wire } = recorder()
    const charges: string[] = []
    const rebuild = (until: 'all' | 'none') =>
      pipeline('orders@v2')
        .use(replay({ until }))
        .use(flow())
        .handle(async (delivery) => {
          await sideEffect(delivery, 'charge', (key) => charges.push(key))
          await wire.publish([next()])
        })
    await expect(rebuild('all').dispatch(at('1'))).rejects.toMatchObject({ code: 'permanent' })
    expect([charges.length, sent.length]).toEqual([0, 0])
    await rebuild('none').dispatch(at('1'))
    expect([charges.length, sent.length]).toEqual([1, 1])
  })

  it('gives an effect one key over redeliveries and versions, and another one elsewhere', async () => {
    const keys: string[] = []
    const run = (name: string, id: string, what = 'charge') =>
      pipeline(name)
        .handle((delivery) => sideEffect(delivery, what, (key) => keys.push(key)))
        .dispatch({ message: { id, body: null } })
    await run('orders', 'm')
    await run('orders', 'm')
    await run('orders@v2', 'm')
    expect(new Set(keys).size).toBe(1)
    await run('billing', 'm')
    await run('orders', 'n')
    await run('orders', 'm', 'mail')
    expect(new Set(keys).size).toBe(4)
  })

  it('gives what a handler publishes the same id again (PR-7), and tells apart what only looks alike', async () => {
    const ids: string[] = []
    const run = (name: string, id: string, what: string) =>
      pipeline(name)
        .handle((delivery) => void ids.push(idFrom(delivery, what)))
        .dispatch({ message: { id, body: null } })
    await run('orders', 'm', 'paid')
    await run('orders@v3', 'm', 'paid')
    expect(ids[0]).toBe(ids[1])
    expect(ids[0]).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-a[0-9a-f]{3}-[0-9a-f]{12}$/)
    await run('orders', 'mp', 'aid')
    await run('ordersm', 'p', 'aid')
    expect(new Set(ids).size).toBe(3)
  })

  it('refuses positions that are no bigints', () => {
    const until = { 'orders/0': 10 } as unknown as Record<string, bigint>
    expect(() => replay({ until })).toThrow("until['orders/0'] must be a bigint")
  })
})

describe('the headers of a chain', () => {
  it('go through an outbox and its relay', async () => {
    const store = memoryOutboxStore()
    const outbox = memoryOutbox({ through: caused() })
    const broker = memoryBroker({ partitions: 1 })
    const orders = pipeline('orders')
      .use(flow())
      .handle(async () => {
        const tx = store.begin()
        await outbox.add(tx, next())
        tx.commit()
      })
    await orders.dispatch({ message: { id: 'o-1', body: null } })
    const { outboxRelay } = await import('../../src/outbox/index.ts')
    const stop = new AbortController()
    const relay = outboxRelay({ store, publisher: publisher(broker.publisher()).use(caused({ service: 'relay' })) })
    const running = relay.run(stop.signal)
    await vi.waitFor(() => expect(broker.messages('next')).toHaveLength(1))
    stop.abort()
    await running
    const [sent] = broker.messages('next')
    expect(sent && headerText(sent.headers, 'causation-id')).toBe('o-1')
    expect(sent && headerText(sent.headers, 'producer')).toBe('orders')
  })
})

describe('flowGraph()', () => {
  const from = (producer: string, type = 'order.placed') => ({
    message: { id: 'm', type, body: null, headers: headersFrom([['producer', producer]]) },
  })

  it('counts the ways that messages take, up to its bound', async () => {
    const graph = flowGraph({ maxEdges: 2 })
    const orders = pipeline('kitchen').handle(() => {})
    await orders.dispatch(from('shop'))
    await orders.dispatch(from('shop'))
    await orders.dispatch({ message: { id: 'm', type: 'x', body: null } })
    await orders.dispatch(from('third'))
    graph.stop()
    await orders.dispatch(from('shop'))
    expect(graph.edges()).toEqual([
      { from: 'shop', type: 'order.placed', to: 'kitchen', messages: 2 },
      { from: null, type: 'x', to: 'kitchen', messages: 1 },
    ])
    expect(graph.uncounted).toBe(1)
    expect(graph.toMermaid()).toContain('|"order.placed (2)"|')
  })

  it('lets no hostile name out of its quotes', async () => {
    const graph = flowGraph()
    await pipeline('kitchen')
      .handle(() => {})
      .dispatch(from('"]; click n0 "javascript:alert(1)" <script>'))
    graph.stop()
    const lines = graph.toMermaid().split('\n')
    expect(lines.filter((line) => (line.match(/"/g) ?? []).length > 2)).toEqual([])
    expect(graph.toMermaid()).not.toMatch(/[<>](?!\|)(?<!-->)|javascript:.*\(/)
  })
})
