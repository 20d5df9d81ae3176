import { setTimeout as sleep } from 'node:timers/promises'
import type { Consumer } from '@nats-io/jetstream'
import { nanos } from '@nats-io/transport-node'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { pipeline } from '../../../src/core/pipeline.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import { eachMessage, natsPublisher } from '../../../src/transports/jetstream/index.ts'
import { describeWith, natsUrl } from '../../support/services.ts'
import { until } from '../rabbitmq/support.ts'
import { testNats, type TestNats } from './support.ts'

describeWith(['nats'], 'eachMessage in a plain JetStream consumer', () => {
  let test: TestNats
  beforeEach(async () => (test = await testNats(natsUrl())))
  afterEach(() => test.dispose())

  /** A stream with messages, and a durable consumer as a service has one. */
  async function filled(count: number, ackWaitMs = 30_000): Promise<Consumer> {
    const stream = await test.stream()
    const messages = Array.from({ length: count }, (_, n) =>
      outgoing({ destination: `${stream}.0`, id: `m${n}`, key: `k${n % 3}`, body: null }),
    )
    await natsPublisher(test.js).publish(messages)
    await test.jsm.consumers.add(stream, {
      durable_name: 'plain',
      ack_policy: 'explicit',
      ack_wait: nanos(ackWaitMs),
    })
    return test.js.consumers.get(stream, 'plain')
  }

  it('acks what is done, keeps each key in order while one of it waits, and runs keys side by side', async () => {
    const consumer = await filled(30)
    const ids: string[] = []
    let failed = false
    const orders = pipeline('orders').handle(({ message }) => {
      if (message.id === 'm3' && !failed) {
        failed = true
        throw new Error('the first time')
      }
      ids.push(message.id)
    })
    const messages = await consumer.consume({ callback: eachMessage(orders, { redeliverMs: 100 }) })
    await until('all', () => ids.length === 30)
    for (const key of [0, 1, 2]) {
      const mine = ids.map((id) => Number(id.slice(1))).filter((n) => n % 3 === key)
      expect(mine).toEqual(mine.toSorted((a, b) => a - b))
    }
    // The other keys did not wait for it.
    expect(ids.indexOf('m3')).toBeGreaterThan(ids.indexOf('m29'))
    await test.nc.flush()
    await expect.poll(async () => (await consumer.info()).ack_floor.stream_seq).toBe(30)
    messages.stop()
  })

  it('keeps what waits and what runs from being redelivered, for longer than ack_wait', async () => {
    const consumer = await filled(3, 1000)
    const runs: string[] = []
    const slow = pipeline('slow').handle(async ({ message }) => {
      runs.push(message.id)
      await sleep(2500)
    })
    // One at a time: the third waits for two of them.
    const onMessage = eachMessage(slow, { ackWaitMs: 1000, concurrency: 1 })
    const messages = await consumer.consume({ callback: onMessage })
    await until('all three', () => runs.length === 3)
    await onMessage.drained()
    expect(runs).toEqual(['m0', 'm1', 'm2'])
    await expect.poll(async () => (await consumer.info()).num_redelivered).toBe(0)
    messages.stop()
  })

  it('finishes what runs when it is told to stop, and starts nothing more', async () => {
    const consumer = await filled(30)
    const stopping = new AbortController()
    let [started, done] = [0, 0]
    const slow = pipeline('slow').handle(async () => {
      started++
      await sleep(100)
      done++
    })
    const onMessage = eachMessage(slow, { signal: stopping.signal, concurrency: 2 })
    const messages = await consumer.consume({ callback: onMessage })
    await until('two run', () => started === 2)
    stopping.abort()
    await onMessage.drained()
    expect([started, done]).toEqual([2, 2])
    expect(onMessage.health()).toMatchObject({ name: 'nats slow', ready: true, details: { inFlight: 0 } })
    messages.stop()
  })

  it('nacks a message whose id function throws, and takes it once it does not', async () => {
    const consumer = await filled(1)
    let tries = 0
    const seen: string[] = []
    const onMessage = eachMessage(
      pipeline('ids').handle(({ message }) => void seen.push(message.id)),
      {
        redeliverMs: 10,
        id: () => {
          if (tries++ < 2) throw new Error('not yet')
          return 'given'
        },
      },
    )
    const messages = await consumer.consume({ callback: onMessage })
    await until('it is handled', () => seen.length === 1)
    expect(seen).toEqual(['given'])
    messages.stop()
  })
})
