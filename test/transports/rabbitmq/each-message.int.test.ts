import { setTimeout as sleep } from 'node:timers/promises'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { pipeline } from '../../../src/core/pipeline.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import { eachMessage, rabbitmqPublisher } from '../../../src/transports/rabbitmq/index.ts'
import { describeWith, rabbitmqUrl } from '../../support/services.ts'
import { testRabbitmq, until, type TestRabbitmq } from './support.ts'

describeWith(['rabbitmq'], 'eachMessage in a plain amqplib consumer', () => {
  let test: TestRabbitmq
  beforeEach(async () => (test = await testRabbitmq(rabbitmqUrl())))
  afterEach(() => test.dispose())

  async function filled(count: number): Promise<string> {
    const queue = await test.queue()
    const messages = Array.from({ length: count }, (_, n) =>
      outgoing({ destination: queue, id: `m${n}`, key: `k${n % 3}`, body: null }),
    )
    await rabbitmqPublisher(await test.connect()).publish(messages)
    return queue
  }

  it('acks what is done, keeps each key in order while one of it waits, and runs keys side by side', async () => {
    const queue = await filled(30)
    const channel = await test.direct.createChannel()
    await channel.prefetch(30)
    const ids: string[] = []
    let failed = false
    const orders = pipeline('orders').handle(({ message }) => {
      if (message.id === 'm3' && !failed) {
        failed = true
        throw new Error('the first time')
      }
      ids.push(message.id)
    })
    const onMessage = eachMessage(orders, { channel, queue, redeliverMs: 100 })
    await channel.consume(queue, onMessage)
    await until('all', () => ids.length === 30)
    for (const key of [0, 1, 2]) {
      const mine = ids.map((id) => Number(id.slice(1))).filter((n) => n % 3 === key)
      expect(mine).toEqual(mine.toSorted((a, b) => a - b))
    }
    // The other keys did not wait for it.
    expect(ids.indexOf('m3')).toBeGreaterThan(ids.indexOf('m29'))
    await sleep(100)
    await channel.close()
    expect((await test.channel.checkQueue(queue)).messageCount).toBe(0)
  })

  it('finishes what runs when it is told to stop, and starts nothing more', async () => {
    const queue = await filled(30)
    const channel = await test.direct.createChannel()
    await channel.prefetch(30)
    const stopping = new AbortController()
    let [started, done] = [0, 0]
    const slow = pipeline('slow').handle(async () => {
      started++
      await sleep(100)
      done++
    })
    const onMessage = eachMessage(slow, { channel, queue, signal: stopping.signal, concurrency: 2 })
    await channel.consume(queue, onMessage)
    await until('two run', () => started === 2)
    stopping.abort()
    await onMessage.drained()
    expect([started, done]).toEqual([2, 2])
  })

  it('acks nothing on a channel that was closed, and is not ready', async () => {
    const queue = await filled(1)
    const channel = await test.direct.createChannel()
    const going = Promise.withResolvers<undefined>()
    const slow = pipeline('slow').handle(() => going.promise)
    const onMessage = eachMessage(slow, { channel, queue })
    await channel.consume(queue, onMessage)
    await until('it runs', () => onMessage.health().details['inFlight'] === 1)
    await channel.close()
    going.resolve(undefined)
    await until('it ended', () => onMessage.health().details['inFlight'] === 0)
    expect(onMessage.health()).toMatchObject({
      ready: false,
      details: { problem: `the channel of queue ${queue} was closed` },
    })
    expect(await test.arrived(queue)).toHaveLength(1)
  })
})
