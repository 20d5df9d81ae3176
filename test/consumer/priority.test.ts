import { describe, expect, it } from 'vitest'
import { lanes } from '../../src/consumer/lanes.ts'
import type { Lanes } from '../../src/consumer/lanes-options.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { memoryBroker, memoryConsumer } from '../../src/transports/memory/index.ts'
import { outgoing } from '../../src/core/publisher.ts'
import { pipeline } from '../../src/core/pipeline.ts'

/** Lanes with one place, which the test frees. */
function one(floor?: number) {
  const clock = fakeClock()
  const started: string[] = []
  let free: () => void = () => {}
  const self: Lanes<string> = lanes<string>({
    ...{ concurrency: 1, ahead: 1_000, redeliverMs: 10, clock, floor, onNack: (_item, _error, attempt) => attempt },
    run: (item) => {
      started.push(item)
      return new Promise<void>((resolve) => (free = resolve))
    },
  })
  const next = async (): Promise<void> => {
    free()
    await clock.advance(0)
  }
  return { self, started, next }
}

describe('priority between topics of one consumer', () => {
  it('starts what has priority first, and gives the others their floor: no topic starves', async () => {
    const { self, started, next } = one(0.1)
    const low = self.open({ yields: true })
    const high = self.open()
    for (let n = 0; n < 60; n++) self.add(low, null, `low ${n}`)
    for (let n = 0; n < 200; n++) self.add(high, null, `high ${n}`)
    for (let n = 0; n < 99; n++) await next()
    const lows = started.filter((item) => item.startsWith('low'))
    // The first one was alone when it came.
    expect(lows).toHaveLength(10)
    expect(lows).toEqual(Array.from({ length: 10 }, (_, n) => `low ${n}`))
  })

  it('starts in order of arrival where nothing has priority', async () => {
    const { self, started, next } = one()
    const a = self.open({ yields: true })
    const b = self.open()
    for (const [n, track] of [a, b, a, b].entries()) self.add(track, null, `${n}`)
    for (let n = 0; n < 3; n++) await next()
    expect(started).toEqual(['0', '1', '2', '3'])
  })

  it('keeps each key in order, and starts the others without a wait where nothing with priority waits', async () => {
    const { self, started, next } = one(0.5)
    const low = self.open({ yields: true })
    const high = self.open()
    for (let n = 0; n < 3; n++) self.add(low, 'k', `low ${n}`)
    self.add(high, 'k', 'high 0')
    for (let n = 0; n < 3; n++) await next()
    expect(started.filter((item) => item.startsWith('low'))).toEqual(['low 0', 'low 1', 'low 2'])
    expect(started).toContain('high 0')
  })

  it('works through a consumer, and refuses what is no priority', async () => {
    const broker = memoryBroker({ partitions: 1 })
    const publisher = broker.publisher()
    const send = (destination: string, count: number): Promise<unknown> =>
      publisher.publish(
        Array.from({ length: count }, (_, n) =>
          outgoing({ id: `${destination}-${n}`, destination, body: Buffer.from('x') }),
        ),
      )
    await send('reports', 40)
    await send('orders', 40)
    const handled: string[] = []
    const stop = new AbortController()
    const orders = pipeline('p').handle(async ({ origin }) => {
      await new Promise((resolve) => setTimeout(resolve, 2))
      handled.push(origin.destination)
      if (handled.length === 80) stop.abort()
    })
    const common = { broker, groupId: 'g', topics: ['reports', 'orders'], pipeline: orders, concurrency: 1 }
    await memoryConsumer({ ...common, priority: { topics: ['orders'], floor: 0.2 } }).run(stop.signal)
    const half = handled.slice(10, 50)
    expect(half.filter((topic) => topic === 'orders').length).toBeGreaterThan(half.length / 2)
    expect(half).toContain('reports')
    expect(() => memoryConsumer({ ...common, priority: { topics: [] } })).toThrow('priority.topics must be')
    expect(() => memoryConsumer({ ...common, priority: { topics: ['orders'], floor: 0 } })).toThrow(
      'priority.floor must be above 0 and at most 0.5, got 0',
    )
  })
})
