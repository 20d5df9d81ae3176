import { afterAll, beforeAll, expect, it } from 'vitest'
import { pipeline } from '../../../src/core/pipeline.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import { replay, sideEffect, type ReplayOptions } from '../../../src/flow/index.ts'
import { kafkajsConsumer, kafkajsPromotion, kafkajsPublisher } from '../../../src/transports/kafkajs/index.ts'
import { platformaticKafkaPromotion } from '../../../src/transports/platformatic-kafka/index.ts'
import { describeWith, kafkaBrokers, uniqueName } from '../../support/services.ts'
import { testKafka } from './support.ts'

describeWith(['kafka'], 'PR-6 a promotion on Kafka', () => {
  let test: Awaited<ReturnType<typeof testKafka>>
  let topic = ''
  beforeAll(async () => {
    test = await testKafka()
    topic = await test.topic(2)
  })
  afterAll(() => test.dispose())

  const [charged, model] = [new Set<string>(), new Set<string>()]

  /** A member of one version, that can be stopped in good order. */
  function member(name: string, groupId: string, until: ReplayOptions['until'], most = Infinity) {
    let handled = 0
    const gate = Promise.withResolvers<void>()
    const orders = pipeline(name)
      .use(replay({ until }))
      .handle(async (delivery) => {
        // The first version stops in the middle, as one that is slow.
        if (++handled > most) await gate.promise
        await sideEffect(delivery, 'charge', (key) => void charged.add(key))
        if (name.endsWith('@v2')) model.add(delivery.message.id)
      })
    const stop = new AbortController()
    const running = kafkajsConsumer({
      kafka: test.kafka,
      groupId,
      topics: [topic],
      pipeline: orders,
      concurrency: 1,
    }).run(stop.signal)
    return {
      goOn: () => gate.resolve(),
      handled: () => handled,
      async stop() {
        gate.resolve()
        stop.abort()
        await running
      },
    }
  }

  it('says each step with both clients, and no effect is missing at the end', { timeout: 120_000 }, async () => {
    const producer = test.kafka.producer()
    await producer.connect()
    const publisher = kafkajsPublisher(producer)
    const send = (from: number, to: number) =>
      publisher.publish(
        Array.from({ length: to - from }, (_, at) =>
          outgoing({ id: `m-${from + at}`, destination: topic, key: `k-${at % 5}`, body: null }),
        ),
      )
    const ids = { groupId: uniqueName('v1'), secondGroupId: uniqueName('v2') }
    const look = async () => {
      const ours = await kafkajsPromotion({ kafka: test.kafka, ...ids, topics: [topic] })
      const other = await platformaticKafkaPromotion({
        connection: { clientId: 'promotion', bootstrapBrokers: kafkaBrokers() },
        ...ids,
        topics: [topic],
      })
      expect({ step: other.step, partitions: other.partitions }).toEqual({
        step: ours.step,
        partitions: ours.partitions,
      })
      return ours
    }
    await send(0, 40)
    const first = member('orders', ids.groupId, 'none', 10)
    let second = member('orders@v2', ids.secondGroupId, 'all')
    await expect.poll(() => [first.handled() > 10, second.handled()], { timeout: 60_000 }).toEqual([true, 40])
    // What it handled is committed a moment later.
    const step = () => look().then((report) => report.step, String)
    await expect.poll(step, { timeout: 60_000 }).toBe('stop-second')
    await second.stop()
    const behind = await look()
    expect(behind.step).toBe('let-first-pass')
    expect(behind.behind.length).toBeGreaterThan(0)
    first.goOn()
    await send(40, 60)
    await expect.poll(step, { timeout: 60_000, interval: 500 }).toBe('stop-first')
    await first.stop()
    const last = await look()
    if (last.step !== 'start-second') throw new Error(last.step)
    await send(60, 80)
    second = member('orders@v2', ids.secondGroupId, last.until)
    await expect.poll(() => model.size, { timeout: 60_000 }).toBe(80)
    await second.stop()
    await producer.disconnect()
    expect(charged.size).toBe(80)
  })
})
