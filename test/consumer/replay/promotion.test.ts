import { describe, expect, it } from 'vitest'
import { promotion, type LogState, type ReplayLog } from '../../../src/consumer/index.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import { replay, sideEffect, type ReplayOptions } from '../../../src/flow/index.ts'
import { memoryBroker, memoryConsumer, memoryPromotion } from '../../../src/transports/memory/index.ts'

interface Group {
  readonly members?: readonly string[]
  readonly stands: readonly (number | undefined)[]
}

function log(group: string, { members = [], stands }: Group): ReplayLog {
  return {
    system: 'fake',
    group,
    members: async () => members,
    states: async () =>
      stands.map((at, partition): LogState => ({ name: `orders/${partition}`, low: 5, high: 100, stands: at })),
    positionsAt: async () => new Map(),
    move: async () => {},
    close: async () => {},
  }
}
const look = (first: Group, second: Group) => promotion(log('v1', first), log('v2', second))

describe('promotion()', () => {
  it('says one step after the other, and gives the positions of the first at the end', async () => {
    const [behind, ahead] = [
      [10, 20],
      [15, 20],
    ]
    expect(await look({ members: ['a'], stands: behind }, { members: ['b'], stands: ahead })).toMatchObject({
      step: 'stop-second',
      members: ['b'],
    })
    expect(await look({ members: ['a'], stands: behind }, { stands: ahead })).toMatchObject({
      step: 'let-first-pass',
      members: ['a'],
      behind: [{ name: 'orders/0', first: 10, second: 15 }],
    })
    expect(await look({ members: ['a'], stands: [15, 21] }, { stands: ahead })).toMatchObject({
      step: 'stop-first',
      members: ['a'],
    })
    expect(await look({ stands: [15, 21] }, { stands: ahead })).toMatchObject({
      step: 'start-second',
      until: { 'orders/0': 15n, 'orders/1': 21n },
    })
  })

  it('PR-6 gives no positions while the second is ahead in one partition, also when both are stopped', async () => {
    expect(await look({ stands: [99, 19] }, { stands: [15, 20] })).toMatchObject({
      step: 'let-first-pass',
      members: [],
      behind: [{ name: 'orders/1', first: 19, second: 20 }],
    })
    // A first group that has no position in a partition stands at what the log still has.
    expect(await look({ stands: [99, undefined] }, { stands: [15, 6] })).toMatchObject({ step: 'let-first-pass' })
    expect(await look({ stands: [99, undefined] }, { stands: [15, undefined] })).toMatchObject({
      step: 'start-second',
      until: { 'orders/0': 99n, 'orders/1': 5n },
    })
  })

  it('sees a member that joins while it reads the positions', async () => {
    let asked = 0
    const joins = { ...log('v1', { stands: [20] }), members: async () => (++asked === 1 ? [] : ['late']) }
    expect(await promotion(joins, log('v2', { stands: [10] }))).toMatchObject({ step: 'stop-first', members: ['late'] })
  })

  it('refuses groups of different topics, one group twice, and a second one that has never run', async () => {
    await expect(look({ stands: [1] }, { stands: [1, 2] })).rejects.toThrow(/both must read the same/)
    await expect(promotion(log('v1', { stands: [1] }), log('v1', { stands: [1] }))).rejects.toThrow(/group of its own/)
    await expect(look({ stands: [1] }, { stands: [undefined] })).rejects.toThrow(/never committed/)
  })
})

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** Two versions of a pipeline on live traffic, with members that are killed; and what the payment API saw. */
function promotedWorld() {
  const broker = memoryBroker({ partitions: 2 })
  const charged = new Set<string>()
  const model = new Map<string, number>()
  let [sent, calls] = [0, 0]
  const producing = new AbortController()

  async function produce(): Promise<void> {
    while (!producing.signal.aborted) {
      const messages = Array.from({ length: 5 }, () =>
        outgoing({ id: `m-${sent++}`, destination: 'orders', key: `k-${sent % 7}`, body: null }),
      )
      await broker.publisher().publish(messages)
      await sleep(2)
    }
  }

  /** A member of one version; `slow` so that the first one lags behind the log. */
  function member(name: string, groupId: string, until: ReplayOptions['until'], slowMs: number) {
    const orders = pipeline(name)
      .use(replay({ until }))
      .handle(async (delivery) => {
        if (slowMs > 0) await sleep(slowMs)
        await sideEffect(delivery, 'charge', (key) => {
          calls += 1
          charged.add(key)
        })
        if (name.endsWith('@v2')) model.set(delivery.message.id, 1)
      })
    const stop = new AbortController()
    const consumer = memoryConsumer({
      broker,
      groupId,
      topics: ['orders'],
      pipeline: orders,
      concurrency: 4,
      drainMs: 2000,
    })
    const running = consumer.run(stop.signal).catch(() => {})
    return {
      crash: () => consumer.crash(),
      async stop() {
        stop.abort()
        await running
      },
    }
  }

  return {
    broker,
    producing,
    produce,
    member,
    ends: () => Object.fromEntries(broker.logs('orders').map((each) => [`orders/${each.partition}`, BigInt(each.end)])),
    lag: (groupId: string) => broker.lag(groupId, 'orders'),
    look: () => memoryPromotion({ broker, groupId: 'v1', secondGroupId: 'v2', topics: ['orders'] }),
    seen: () => ({ sent, charged: charged.size, missing: sent - charged.size, model: model.size, calls }),
  }
}

describe('PR-6 PR-17 a promotion under live traffic', () => {
  it('with members that are killed loses no effect, and the read model is whole', async () => {
    const world = promotedWorld()
    const traffic = world.produce()
    let first = world.member('orders', 'v1', 'none', 3)
    let second = world.member('orders@v2', 'v2', 'all', 0)
    await sleep(150)
    await first.crash()
    first = world.member('orders', 'v1', 'none', 1)
    await second.crash()
    second = world.member('orders@v2', 'v2', 'all', 0)
    await sleep(150)
    const steps: string[] = []
    let until: Readonly<Record<string, bigint>> | undefined
    while (until === undefined) {
      const found = await world.look()
      if (steps.at(-1) !== found.step) {
        steps.push(found.step)
        if (found.step === 'stop-second') await second.stop()
        else if (found.step === 'let-first-pass') {
          // Killed in the middle of the step: what it did and did not commit it does again, then it is stopped properly.
          await first.crash()
          first = world.member('orders', 'v1', 'none', 0)
        } else if (found.step === 'stop-first') await first.stop()
      }
      if (found.step === 'start-second') until = found.until
      await sleep(5)
    }
    second = world.member('orders@v2', 'v2', until, 0)
    await sleep(50)
    await second.crash()
    second = world.member('orders@v2', 'v2', until, 0)
    world.producing.abort()
    await traffic
    while (world.lag('v2') > 0) await sleep(5)
    await second.stop()
    const { sent, missing, model } = world.seen()
    expect(steps.at(0)).toBe('stop-second')
    expect(steps.slice(-2)).toEqual(['stop-first', 'start-second'])
    expect({ missing, model }).toEqual({ missing: 0, model: sent })
    expect(sent).toBeGreaterThan(50)
  })

  it('in the naive order, up to the end of the log as it is now, loses effects, and nothing says so', async () => {
    const world = promotedWorld()
    const traffic = world.produce()
    const first = world.member('orders', 'v1', 'none', 10)
    let second = world.member('orders@v2', 'v2', 'all', 0)
    await sleep(200)
    await second.stop()
    const until = world.ends()
    await first.stop()
    second = world.member('orders@v2', 'v2', until, 0)
    world.producing.abort()
    await traffic
    while (world.lag('v2') > 0) await sleep(5)
    await second.stop()
    const { sent, missing, model } = world.seen()
    expect(model).toBe(sent)
    expect(missing).toBeGreaterThan(0)
  })
})
