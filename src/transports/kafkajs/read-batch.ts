import type { Batch, KafkaMessage } from 'kafkajs'
import type { LogBatch } from '../../consumer/log/log-client.ts'

/** A batch of kafkajs, with where its fetch began. */
export function readBatch(batch: Batch): LogBatch<KafkaMessage> {
  const last = Number(batch.lastOffset())
  return {
    topic: batch.topic,
    partition: batch.partition,
    records: batch.messages,
    from: 'fetchedOffset' in batch ? Number(batch.fetchedOffset) : 0,
    first: Number(batch.firstOffset() ?? last),
    last,
  }
}
