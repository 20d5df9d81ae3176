import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, expect, it } from 'vitest'
import { describeWith, uniqueName } from '../../support/services.ts'
import { managed } from './managed.ts'
import { numbers, testKafka, until, type TestKafka } from './support.ts'

describeWith(['kafka'], 'rebalances of the managed consumer on real Kafka', () => {
  let test: TestKafka
  beforeAll(async () => {
    test = await testKafka()
  })
  afterAll(() => test.dispose())

  const setUp = async (partitions: number) => ({ topic: await test.topic(partitions), groupId: uniqueName('group') })

  it('K-8: members that join and leave under load repeat nothing, and keep every key in order', async () => {
    const { topic, groupId } = await setUp(12)
    const count = 6000
    await test.send(
      topic,
      Array.from({ length: count }, (_, n) => ({
        key: `k${n % 100}`,
        value: String(n),
        headers: { 'message-id': `m${n}` },
      })),
    )
    const deliveries: string[] = []
    const last = new Map<string, number>()
    const faults: string[] = []
    const handler = async ({ message }: { message: { id: string; key: string | null } }) => {
      deliveries.push(message.id)
      await sleep(5)
      const n = Number(message.id.slice(1))
      const key = message.key ?? ''
      if (n < (last.get(key) ?? -1)) faults.push(`${key}: ${n} after ${last.get(key)}`)
      last.set(key, n)
    }
    const first = managed(topic, groupId, handler, { concurrency: 16 })
    await until('a start', () => deliveries.length > 300)
    const second = managed(topic, groupId, handler, { concurrency: 16 })
    await until('both', () => second.changed('joined').length > 0 && deliveries.length > 1500)
    const third = managed(topic, groupId, handler, { concurrency: 16 })
    await until('three', () => third.changed('joined').length > 0 && deliveries.length > 3000)
    await first.stop()
    await until('all', () => new Set(deliveries).size === count, 30_000)
    await Promise.all([second.stop(), third.stop()])
    expect(deliveries.length).toBe(count)
    expect(faults).toEqual([])
    expect(first.changed('drained').length).toBeGreaterThan(0)
  })

  it('K-9: a drain longer than the session keeps the membership, and what it waited for does not come again', async () => {
    const { topic, groupId } = await setUp(2)
    // One in each partition: whichever moves had something running.
    await test.send(
      topic,
      [0, 1].map((partition) => ({ partition, key: 'k', headers: { 'message-id': `slow ${partition}` } })),
    )
    const deliveries: string[] = []
    const handler = async ({ message }: { message: { id: string } }) => {
      deliveries.push(message.id)
      await sleep(4500)
    }
    const options = { sessionMs: 2000, drainMs: 8000 }
    const first = managed(topic, groupId, handler, options)
    await until('the handlers', () => deliveries.length === 2)
    const second = managed(topic, groupId, handler, options)
    await until('both', () => second.changed('joined').length > 0)
    expect(first.changed('lost')).toEqual([])
    await sleep(500)
    await Promise.all([first.stop(), second.stop()])
    expect(deliveries.toSorted()).toEqual(['slow 0', 'slow 1'])
  })

  it('K-3, K-17: what outlived its partition is told to stop, and its end commits nothing', async () => {
    const { topic, groupId } = await setUp(1)
    await test.send(topic, numbers(1, 'k'))
    const free = Promise.withResolvers<void>()
    let signal: AbortSignal | undefined
    const first = managed(
      topic,
      groupId,
      (delivery) => {
        signal = delivery.signal
        return free.promise
      },
      { drainMs: 300, sessionMs: 1500 },
    )
    await until('the handler', () => signal !== undefined)
    const seen: string[] = []
    const second = managed(topic, groupId, ({ message }) => void seen.push(message.id))
    await until('both', () => second.changed('joined').length > 0)
    // One partition, two members: make sure that it is the second that owns it.
    const mine = () => second.health().details['partitions']
    if (Array.isArray(mine()) && (mine() as unknown[]).length === 0) {
      const stopping = first.stop()
      await until('it moved', () => (mine() as unknown[]).length === 1)
      await stopping
    }
    await until('again', () => seen.includes('m0'))
    expect(signal?.aborted).toBe(true)
    await test.send(topic, numbers(5, 'k').slice(1))
    await until('further', async () => (await test.committed(groupId, topic)) === 5)
    free.resolve()
    await sleep(500)
    expect(await test.committed(groupId, topic)).toBe(5)
    await Promise.all([first.stop(), second.stop()])
  })

  it('K-12: a partition that was paused, lost and regained is fetched again', async () => {
    const { topic, groupId } = await setUp(2)
    const count = 600
    await test.send(topic, numbers(count))
    const gate = { open: Promise.withResolvers<void>() }
    const seen = new Set<string>()
    const handler = async ({ message }: { message: { id: string } }) => {
      await gate.open.promise
      seen.add(message.id)
    }
    const options = { buffer: 20, ahead: 20, settings: { maxBytesPerPartition: 2048 }, drainMs: 500 }
    const first = managed(topic, groupId, handler, options)
    const partitions = (of: typeof first) => of.health().details['partitions'] as { paused: boolean }[]
    await until('paused', () => partitions(first).length === 2 && partitions(first).every(({ paused }) => paused))
    const second = managed(topic, groupId, handler, options)
    await until('shared', () => partitions(second).length === 1)
    await second.stop()
    await until('regained', () => partitions(first).length === 2)
    gate.open.resolve()
    await until('all', () => seen.size === count)
    await first.stop()
  })
})
