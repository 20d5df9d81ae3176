import { describe, expect, it } from 'vitest'
import { RetryLater } from '../../../src/core/errors.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { outgoing, type Outgoing } from '../../../src/core/publisher.ts'
import { fakeClock } from '../../../src/testing/index.ts'
import type { Member } from '../../../src/transports/memory/group.ts'
import type { PartitionLog } from '../../../src/transports/memory/log.ts'
import { memoryBroker, memoryConsumer, type MemoryBrokerOptions } from '../../../src/transports/memory/index.ts'

const topic = 'orders'
const message = (n: number, key: string | null = `k${n % 5}`): Outgoing =>
  outgoing({ destination: topic, id: `m${n}`, key, body: null })
const many = (count: number) => Array.from({ length: count }, (_, n) => message(n))

/** A broker, and a consumer of it whose messages are noted, on a clock of the test. */
function bench(options: MemoryBrokerOptions = {}) {
  const clock = fakeClock()
  const broker = memoryBroker({ clock, ...options })
  const seen: string[] = []
  const start = (groupId = 'g', handle = (id: string): void => void seen.push(id)) => {
    const stopping = new AbortController()
    const consumer = memoryConsumer({
      broker,
      groupId,
      topics: [topic],
      pipeline: pipeline('p').handle(({ message: { id } }) => handle(id)),
      clock,
    })
    const ended = consumer.run(stopping.signal)
    return { consumer, ended, stop: () => stopping.abort() }
  }
  return { clock, broker, seen, start }
}

describe('memoryBroker', () => {
  it('gives one seed one history', async () => {
    const history = async (seed: number) => {
      const { clock, broker } = bench({ seed, faults: { duplicates: 0.3, delayMs: 20 } })
      await broker.publisher().publish(many(100))
      await clock.advance(1000)
      return broker.messages(topic).map(({ id }) => id)
    }
    const [one, again, other] = [await history(7), await history(7), await history(8)]
    expect(again).toEqual(one)
    expect(other).not.toEqual(one)
    expect(one.length).toBeGreaterThan(100)
  })

  it('puts one key into one partition, and keeps its order whatever the delay', async () => {
    const { clock, broker, seen, start } = bench({ faults: { delayMs: 50 } })
    const { stop, ended } = start()
    await broker.publisher().publish(many(50))
    await clock.advance(1000)
    expect(seen).toHaveLength(50)
    for (let key = 0; key < 5; key++) {
      const of = seen.map((id) => Number(id.slice(1))).filter((n) => n % 5 === key)
      expect(of).toEqual(of.toSorted((a, b) => a - b))
    }
    stop()
    await clock.advance(100)
    await ended
    expect(broker.lag('g', topic)).toBe(0)
  })

  it('refuses what it cannot keep as an outage, and takes more once it was consumed', async () => {
    const { clock, broker, start } = bench({ partitions: 1, maxMessages: 10 })
    await broker.publisher().publish(many(10))
    await expect(broker.publisher().publish([message(10)])).rejects.toMatchObject({ code: 'unavailable' })
    const { stop, ended } = start()
    await clock.advance(100)
    await broker.publisher().publish([message(10)])
    await clock.advance(100)
    expect(broker.committed('g', topic)).toEqual([11])
    stop()
    await clock.advance(100)
    await ended
  })

  it('fails publishing with nothing written, or with everything written, as often as it was told', async () => {
    const refusing = memoryBroker({ faults: { refusals: 1 } })
    await expect(refusing.publisher().publish(many(3))).rejects.toMatchObject({ code: 'unavailable' })
    expect(refusing.messages(topic)).toEqual([])
    const forgetful = memoryBroker({ faults: { lostConfirms: 1 } })
    await expect(forgetful.publisher().publish(many(3))).rejects.toMatchObject({ code: 'unavailable' })
    expect(forgetful.messages(topic)).toHaveLength(3)
  })

  it('waits as long as a message says, by its own clock', async () => {
    const { clock, broker, start } = bench()
    let calls = 0
    const { stop, ended } = start('g', () => {
      if (++calls === 1) throw new RetryLater(60_000)
    })
    await broker.publisher().publish([message(0)])
    await clock.advance(59_000)
    expect(calls).toBe(1)
    await clock.advance(2000)
    expect(calls).toBe(2)
    stop()
    await clock.advance(100)
    await ended
  })

  it('K-3: takes no commit from a member of an earlier generation, and none that goes back', async () => {
    const { broker } = bench({ partitions: 2 })
    const group = broker.groups('g')
    const member = () => {
      const owned: { generation: number; partitions: readonly PartitionLog[] } = { generation: 0, partitions: [] }
      const self: Member = {
        name: 'm',
        topics: [topic],
        revoke: async () => {},
        assign: (given) => void Object.assign(owned, given),
      }
      return { self, owned }
    }
    const [first, second] = [member(), member()]
    await group.join(first.self)
    const before = { ...first.owned }
    await group.join(second.self)
    const [kept] = first.owned.partitions
    const [moved] = second.owned.partitions
    if (kept === undefined || moved === undefined) throw new Error('each should own one')
    expect(() => group.commit(first.self, before.generation, kept, 5)).toThrow('to another member')
    expect(() => group.commit(first.self, first.owned.generation, moved, 5)).toThrow('to another member')
    group.commit(first.self, first.owned.generation, kept, 5)
    group.commit(first.self, first.owned.generation, kept, 3)
    expect(group.committed(kept)).toBe(5)
    expect(group.committed(moved)).toBe(0)
  })

  it('makes room in a topic although another group reads another topic', async () => {
    const { clock, broker, start } = bench({ partitions: 1, maxMessages: 10 })
    const other = memoryConsumer({
      broker,
      groupId: 'other',
      topics: ['mails'],
      pipeline: pipeline('p').handle(() => {}),
      clock,
    })
    const stopping = new AbortController()
    const otherEnded = other.run(stopping.signal)
    const { stop, ended } = start()
    for (let n = 0; n < 30; n++) {
      await broker.publisher().publish([message(n)])
      await clock.advance(20)
    }
    expect(broker.committed('g', topic)).toEqual([30])
    stop()
    stopping.abort()
    await clock.advance(100)
    await Promise.all([ended, otherEnded])
  })

  it('begins with what is kept where a group comes after trimming', async () => {
    const { clock, broker, seen, start } = bench({ partitions: 1, maxMessages: 10 })
    const first = start('first', () => {})
    for (let n = 0; n < 25; n++) {
      await broker.publisher().publish([message(n)])
      await clock.advance(20)
    }
    const kept = broker.messages(topic).map(({ id }) => id)
    const late = start('late')
    await clock.advance(100)
    expect(seen).toEqual(kept)
    expect(broker.lag('late', topic)).toBe(0)
    first.stop()
    late.stop()
    await clock.advance(100)
    await Promise.all([first.ended, late.ended])
  })

  it('refuses a second run', async () => {
    const { clock, start } = bench()
    const { consumer, ended, stop } = start()
    await expect(consumer.run(new AbortController().signal)).rejects.toMatchObject({ code: 'bad-order' })
    stop()
    await clock.advance(100)
    await ended
  })

  it('refuses bad options by name and value', () => {
    expect(() => memoryBroker({ partitions: 0 })).toThrow(
      'memoryBroker: partitions must be an integer of at least 1, got 0',
    )
    expect(() => memoryBroker({ faults: { duplicates: 2 } })).toThrow(
      'memoryBroker: duplicates must be a share from 0 to 1, got 2',
    )
    const broker = memoryBroker()
    broker.createTopic('t', 1)
    expect(() => broker.createTopic('t', 1)).toThrow("memoryBroker: the topic 't' exists")
    const base = { broker, groupId: 'g', topics: ['t'], pipeline: pipeline('p').handle(() => {}) }
    expect(() => memoryConsumer({ ...base, topics: [] })).toThrow('memoryConsumer: topics')
    expect(() => memoryConsumer({ ...base, concurrency: 0 })).toThrow('memoryConsumer: concurrency')
  })
})
