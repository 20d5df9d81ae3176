import type { Kafka } from 'kafkajs'
import { readDeadLetter, type DeadLetter } from '../../../src/dead-letter/index.ts'
import { neverAborts } from '../../../src/core/signals.ts'
import { deliveryFrom } from '../../../src/transports/kafkajs/codec.ts'
import { readTopic } from './topics.ts'

/** The dead letters in a topic, each taken apart again. What is none is a fault. */
export async function readDeadLetters(kafka: Kafka, topic: string): Promise<DeadLetter[]> {
  const context = { pipeline: topic, group: null, attempt: 1, signal: neverAborts, id: undefined }
  return (await readTopic(kafka, topic)).map((record) => {
    const letter = readDeadLetter(deliveryFrom(record, context).message)
    if (letter === undefined) throw new Error(`offset ${record.message.offset} of ${topic} is no dead letter`)
    return letter
  })
}
