import type { SQSBatchResponse, SQSEvent, SQSRecord } from 'aws-lambda'
import type { Pipeline } from 'holdfast'

/**
 * A Lambda handler for a queue with `ReportBatchItemFailures`: only what was nacked comes again.
 * Messages of one group stay in order: once one of them is nacked, those behind it are handed back too.
 */
export function sqsHandler(pipeline: Pipeline): (event: SQSEvent) => Promise<SQSBatchResponse> {
  return async (event) => {
    // Without a group (a standard queue), each message goes by itself.
    const groups = Map.groupBy(event.Records, (record) => record.attributes.MessageGroupId ?? record.messageId)
    const failed = await Promise.all([...groups.values()].map(handleInOrder))
    return { batchItemFailures: failed.flat().map(({ messageId }) => ({ itemIdentifier: messageId })) }
  }

  async function handleInOrder(records: readonly SQSRecord[]): Promise<readonly SQSRecord[]> {
    for (const [n, record] of records.entries()) {
      try {
        await handle(record)
      } catch {
        return records.slice(n)
      }
    }
    return []
  }

  function handle(record: SQSRecord) {
    const { messageId: id, body, attributes } = record
    return pipeline.dispatch({
      message: {
        id,
        key: attributes.MessageGroupId ?? null,
        body: Buffer.from(body),
        timeMs: Number(attributes.SentTimestamp),
      },
      origin: { system: 'sqs', destination: record.eventSourceARN },
      attempt: Number(attributes.ApproximateReceiveCount),
      raw: record,
    })
  }
}
