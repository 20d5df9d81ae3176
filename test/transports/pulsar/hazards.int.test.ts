import { setTimeout as sleep } from 'node:timers/promises'
import { pulsarPublisher } from 'holdfast/pulsar'
import { afterEach, expect, it } from 'vitest'
import type { Delivery } from '../../../src/core/delivery.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import type { PulsarClient } from '../../../src/transports/pulsar/client.ts'
import { single } from '../../../src/transports/pulsar/protocol/commands.ts'
import { encode } from '../../../src/transports/pulsar/protocol/protobuf.ts'
import { faultProxy } from '../../support/fault-proxy.ts'
import { describeWith, pulsarUrl, serviceAddress, uniqueName } from '../../support/services.ts'
import { describeFull, isFull } from '../../support/skipped.ts'
import { until } from '../rabbitmq/support.ts'
import { numbered, PulsarBench } from './bench.ts'
import { arrivedAt, clientThrough } from './support.ts'

if (isFull)
  describeWith(['pulsar'], 'Pulsar', () => {
    const bench = new PulsarBench()
    afterEach(() => bench.close())
    const connect = (): PulsarClient => bench.connect()
    const member: PulsarBench['member'] = (...asked) => bench.member(...asked)

    it('P-4 P-5: acks a batch only when all of it is done', async () => {
      const topic = uniqueName('topic')
      const parts = ['a', 'b', 'c'].flatMap((key) => {
        const meta = encode(single, { partitionKey: key, payloadSize: 1 })
        const size = Buffer.alloc(4)
        size.writeUInt32BE(meta.length)
        return [size, meta, Buffer.from(key)]
      })
      await bench.sendRaw(topic, { messages: 3 }, Buffer.concat(parts))
      const first: string[] = []
      const one = member(
        topic,
        async ({ message, signal }) => {
          first.push(message.key ?? '')
          if (message.key === 'b')
            await new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('stopped'))))
        },
        { drainMs: 100 },
      )
      await until('all three', () => first.length === 3)
      await one.end()
      const second: string[] = []
      const two = member(topic, ({ message }) => void second.push(message.key ?? ''))
      await until('again', () => second.length === 3)
      await two.end()
      const third: string[] = []
      const three = member(topic, ({ message }) => void third.push(message.key ?? ''))
      await until('it is there', () => three.consumer.health().ready)
      await sleep(200)
      await three.end()
      expect(second.toSorted()).toEqual(['a', 'b', 'c'])
      expect(third).toEqual([])
    })

    it('what cannot be read holds its place, is named, and is not lost', async () => {
      const topic = uniqueName('topic')
      await bench.sendRaw(topic, { compression: 1, uncompressedSize: 5, partitionKey: 'k' }, Buffer.from('lz4'))
      const publisher = pulsarPublisher(connect())
      await publisher.publish([
        outgoing({ destination: topic, id: 'behind', key: 'k', body: null }),
        outgoing({ destination: topic, id: 'beside', key: 'other', body: null }),
      ])
      const seen: string[] = []
      const { consumer, end } = member(topic, ({ message }) => void seen.push(message.id), { hungAfterMs: 200 })
      await until('the other key', () => seen.length === 1)
      await until('it is named', () => JSON.stringify(consumer.health().details).includes('LZ4'))
      await until('it is not ready', () => !consumer.health().ready)
      await end()
      expect(seen).toEqual(['beside'])
    })

    it('reads and fills all partitions of a topic, each key on one of them', async () => {
      const topic = uniqueName('topic')
      const { web = '' } = serviceAddress('pulsar').also
      const made = await fetch(`${web}/admin/v2/persistent/public/default/${topic}/partitions`, {
        method: 'PUT',
        body: '3',
        headers: { 'content-type': 'application/json' },
      })
      expect(made.ok).toBe(true)
      await pulsarPublisher(connect()).publish(numbered(topic, 60, 12))
      const seen = new Map<string, Set<string | null>>()
      let count = 0
      const { end } = member(topic, ({ message: { key }, origin: { partition, destination } }) => {
        count++
        expect(destination).toBe(topic)
        seen.set(key ?? '', (seen.get(key ?? '') ?? new Set()).add(partition))
      })
      await until('all', () => count === 60)
      await end()
      expect([...seen.values()].map((partitions) => partitions.size)).toEqual(Array.from({ length: 12 }, () => 1))
      expect(new Set([...seen.values()].flatMap((partitions) => [...partitions])).size).toBeGreaterThan(1)
    })

    it('P-15: loses nothing, doubles nothing and keeps every key in order while connections are cut', async () => {
      const topic = uniqueName('topic')
      const proxy = await faultProxy(pulsarUrl())
      const [publishing, consuming] = [clientThrough(proxy), clientThrough(proxy)]
      bench.clients.push(publishing, consuming)
      const publisher = pulsarPublisher(publishing)
      const seen: string[] = []
      const one = member(topic, ({ message }) => void seen.push(message.id), { client: consuming, concurrency: 8 })
      let isOver = false
      const cutting = (async () => {
        while (!isOver) {
          await sleep(100 + Math.random() * 300)
          proxy.cut()
        }
      })()
      for (let from = 0; from < 1_000; from += 100) await publisher.publish(numbered(topic, 100, 10, from))
      isOver = true
      await cutting
      await until('all', () => new Set(seen).size === 1_000)
      await one.end()
      expect(proxy.counts.cut).toBeGreaterThan(0)
      for (let key = 0; key < 10; key++) {
        const firsts = [...new Set(seen)].map((id) => Number(id.slice(1))).filter((n) => n % 10 === key)
        expect(firsts).toEqual(firsts.toSorted((a, b) => a - b))
      }
      // The broker dropped what it had already.
      expect(await arrivedAt(topic)).toHaveLength(1_000)
      await proxy.dispose()
    })

    it('a member that leaves gives its keys to the others, in order', async () => {
      const topic = uniqueName('topic')
      const seen: string[] = []
      const handler = async ({ message }: Delivery): Promise<void> => {
        await sleep(2)
        seen.push(message.id)
      }
      const [one, two] = [member(topic, handler), member(topic, handler)]
      await until('both', () => one.consumer.health().ready && two.consumer.health().ready)
      const publisher = pulsarPublisher(connect())
      await publisher.publish(numbered(topic, 300, 20))
      await one.end()
      await publisher.publish(numbered(topic, 300, 20, 300))
      await until('all', () => new Set(seen).size === 600)
      await two.end()
      expect(seen).toHaveLength(600)
      for (let key = 0; key < 20; key++) {
        const mine = seen.map((id) => Number(id.slice(1))).filter((n) => n % 20 === key)
        expect(mine).toEqual(mine.toSorted((a, b) => a - b))
      }
    })
  })

// A file needs a suite, also where its server is not there.
if (!isFull) describeFull('Pulsar, its hazards', () => it('needs the full run', () => expect(isFull).toBe(true)))
