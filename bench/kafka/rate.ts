import type { Kafka } from 'kafkajs'
import type { Side } from './consumers.ts'

export interface RateOptions {
  readonly kafka: Kafka
  readonly topic: string
  /** How many messages are counted; the topic may have more. */
  readonly messages: number
  /** How long the handler takes. @defaultValue 0 */
  readonly handlerMs?: number
}

/**
 * Nanoseconds a message, from the beginning of the topic, in a new group. The clock starts when fetching does where the
 * handler does nothing, and with the first handler where that one is what takes the time.
 */
export async function nsPerMessage(
  side: Side,
  { kafka, topic, messages, handlerMs = 0 }: RateOptions,
): Promise<number> {
  const { promise: done, resolve } = Promise.withResolvers<number>()
  let startMs: number | undefined
  let count = 0
  const finished = (): void => {
    if (++count === messages) resolve(performance.now() - (startMs ?? NaN))
  }
  const fast = async (): Promise<void> => finished()
  const slow = async (): Promise<void> => {
    startMs ??= performance.now()
    // What comes after the last one that counts would only keep the consumer from stopping.
    if (count >= messages) return
    await new Promise((after) => setTimeout(after, handlerMs))
    finished()
  }
  const stop = await side.start({
    kafka,
    topic,
    work: handlerMs === 0 ? fast : slow,
    onJoin: () => {
      if (handlerMs === 0) startMs ??= performance.now()
    },
  })
  const ms = await done
  await stop()
  return (ms * 1e6) / messages
}
