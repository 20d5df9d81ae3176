import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { kafkajsPublisher } from 'holdfast/kafkajs'
import { platformaticKafkaPublisher } from 'holdfast/platformatic-kafka'
import { readTopic } from '../../../scripts/chaos/kafka/topics.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import { describeWith, kafkaBrokers } from '../../support/services.ts'
import { testKafka } from '../kafkajs/support.ts'
import { producerOn } from './under-test.ts'

describeWith(['kafka'], 'platformaticKafkaPublisher', () => {
  it('puts a key on the partition where kafkajs puts it', async () => {
    const [broker = ''] = kafkaBrokers()
    const test = await testKafka()
    const topic = await test.topic(3)
    const [theirs, ours] = [test.kafka.producer({ idempotent: true }), producerOn(broker)]
    await theirs.connect()
    const messages = Array.from({ length: 60 }, (_, n) => outgoing({ destination: topic, key: `k${n}`, body: null }))
    for (const publisher of [kafkajsPublisher(theirs), platformaticKafkaPublisher(ours)])
      await publisher.publish(messages)
    const places = new Map<string, Set<number>>()
    for (const { partition, message } of await readTopic(test.kafka, topic)) {
      const key = String(message.key)
      places.set(key, (places.get(key) ?? new Set()).add(partition))
    }
    await theirs.disconnect()
    await ours.close()
    await test.dispose()
    expect(places.size).toBe(60)
    expect([...places.values()].filter(({ size }) => size > 1)).toEqual([])
  })
})

it('sends one request at a time: of two at once the client may write the second first', async () => {
  let atOnce = 0
  let most = 0
  const publisher = platformaticKafkaPublisher({
    async send() {
      most = Math.max(most, ++atOnce)
      await sleep(5)
      atOnce--
    },
  })
  const one = (id: string) => publisher.publish([outgoing({ destination: 'orders', id, body: null })])
  await Promise.all([one('a'), one('b'), one('c')])
  expect(most).toBe(1)
})
