import type { CompressionTypes, Producer } from 'kafkajs'
import { HoldfastError } from '../../core/errors.ts'
import { byDestination, type HalvingPublish, type Numbered } from '../publish-in-halves.ts'
import { recordFrom } from './codec.ts'
import { faultOf } from './kafka-errors.ts'

interface SendSettings {
  readonly acks: -1 | 1
  readonly compression: CompressionTypes | undefined
  readonly timeoutMs: number
}

/** Sends messages as one request, those of each topic in their order. */
export function batchSender(
  producer: Pick<Producer, 'sendBatch'>,
  { acks, compression, timeoutMs }: SendSettings,
): HalvingPublish['send'] {
  return async function sendBatch(numbered: readonly Numbered[]): Promise<void> {
    const topicMessages = [...byDestination(numbered)].map(([topic, messages]) => ({
      topic,
      messages: messages.map(({ message }) => recordFrom(message)),
    }))
    const batch = { topicMessages, acks, timeout: timeoutMs, ...(compression === undefined ? {} : { compression }) }
    await producer.sendBatch(batch).catch((error: unknown) => {
      throw faultOf(error).type === 'INVALID_TIMESTAMP' ? clockIsWrong(error) : error
    })
  }
}

function clockIsWrong(cause: unknown): HoldfastError {
  const what =
    "Kafka refused the time of a record: this machine's clock differs too much from the broker's; set it right"
  return new HoldfastError('unavailable', what, { cause })
}
