import type { JetStreamManager } from '@nats-io/jetstream'
import { isConsumerMissing } from './errors.ts'

/** The last sequence up to which a consumer has everything acked; 0 where it is gone. */
export async function ackedFloor(
  jsm: Pick<JetStreamManager, 'consumers'>,
  stream: string,
  consumer: string,
): Promise<number> {
  try {
    const info = await jsm.consumers.info(stream, consumer)
    return info.ack_floor.stream_seq
  } catch (error) {
    if (isConsumerMissing(error)) return 0
    throw error
  }
}
