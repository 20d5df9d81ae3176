import { pipeline, type Bytes, type Message } from 'holdfast'
import { eachMessage } from 'holdfast/kafkajs'
import { uniqueName } from '../../support/services.ts'
import { until, type TestKafka } from './support.ts'

/** Up to where the partitions end now. */
export async function everythingIn(test: TestKafka, topic: string): Promise<readonly Message<Bytes>[]> {
  const ends = new Map(
    (await test.admin.fetchTopicOffsets(topic)).map(({ partition, high }) => [partition, Number(high)]),
  )
  const total = [...ends.values()].reduce((sum, end) => sum + end, 0)
  const seen: Message<Bytes>[] = []
  if (total === 0) return seen
  const consumer = await test.consumer(topic, uniqueName('group'))
  const all = pipeline('read').handle(({ message }) => void seen.push(message))
  await consumer.run({ eachMessage: eachMessage(all) })
  await until(`${total} messages`, () => seen.length >= total)
  await consumer.stop()
  return seen.slice(0, total)
}
