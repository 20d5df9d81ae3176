import type { CompressionTypes, Producer } from 'kafkajs'
import { systemClock, type Clock } from '../../core/clock.ts'
import { HoldfastError, PublishError, type PublishFailure } from '../../core/errors.ts'
import { badOption, requireMethods, requireMs } from '../../core/options.ts'
import type { Outgoing, Publisher } from '../../core/publisher.ts'
import { recordFrom } from './codec.ts'
import { blames, faultOf } from './kafka-errors.ts'

export interface KafkajsPublisherOptions {
  /** `-1`: every in-sync replica has it. `1`: its leader has it. @defaultValue -1 */
  readonly acks?: -1 | 1
  /** @defaultValue none */
  readonly compression?: CompressionTypes
  /** A confirmation that has not come by then is an outage: what was written is unknown. @defaultValue 30_000 */
  readonly timeoutMs?: number
  readonly clock?: Clock
}

interface Numbered {
  readonly index: number
  readonly message: Outgoing
}

/**
 * Publishes through a connected kafkajs producer, and resolves when the brokers have confirmed everything.
 * Messages of one key stay in order. Create the producer with `idempotent: true`: a plain one may write twice by itself.
 * @throws PublishError naming the messages that Kafka will never take: too large, unknown topic, invalid record.
 */
export function kafkajsPublisher(
  producer: Pick<Producer, 'sendBatch'>,
  { acks = -1, compression, timeoutMs = 30_000, clock = systemClock }: KafkajsPublisherOptions = {},
): Publisher {
  requireMethods('kafkajsPublisher', 'producer', producer, ['sendBatch'])
  requireMs('kafkajsPublisher', { timeoutMs })
  // Without an answer there is nothing to resolve on.
  if ((acks as number) !== -1 && (acks as number) !== 1) throw badOption('kafkajsPublisher', 'acks', '-1 or 1', acks)

  async function send(numbered: readonly Numbered[]): Promise<void> {
    const topics = [...byTopic(numbered)].map(([topic, messages]) => ({
      topic,
      messages: messages.map(({ message }) => recordFrom(message)),
    }))
    await producer.sendBatch({
      topicMessages: topics,
      acks,
      timeout: timeoutMs,
      ...(compression === undefined ? {} : { compression }),
    })
  }

  /** Finds whom Kafka refuses by sending halves, in order: what was written before may be written again. */
  async function isolate(
    numbered: readonly Numbered[],
    error: unknown,
    ended: () => boolean,
  ): Promise<PublishFailure[]> {
    const blamed = blames(error)
    if (blamed === 'nobody') throw error
    const topics = [...byTopic(numbered).values()]
    if (topics.length > 1) return inTurn(topics, ended)
    if (blamed === 'topic' || numbered.length === 1)
      return numbered.map(({ index }) => ({ index, error, permanent: true }))
    const half = numbered.length >> 1
    return inTurn([numbered.slice(0, half), numbered.slice(half)], ended)
  }

  async function inTurn(parts: readonly (readonly Numbered[])[], ended: () => boolean): Promise<PublishFailure[]> {
    const failures: PublishFailure[] = []
    for (const part of parts) {
      // The caller was told of an outage and may be sending again: nothing may be written behind its back.
      if (ended()) break
      try {
        await send(part)
      } catch (error) {
        failures.push(...(await isolate(part, error, ended)))
      }
    }
    return failures
  }

  return {
    async publish(messages, { signal } = {}) {
      if (messages.length === 0) return
      signal?.throwIfAborted()
      let over = false
      const ended = () => over
      const numbered = messages.map((message, index) => ({ index, message }))
      try {
        const failures = await inTime(inTurn([numbered], ended), timeoutMs, clock, signal)
        const [first] = failures
        if (first === undefined) return
        const { message, type } = faultOf(first.error)
        const text = `${failures.length} of ${messages.length} messages were refused by Kafka: ${type ?? message}`
        throw new PublishError(text, failures, { cause: first.error })
      } finally {
        over = true
      }
    },
  }
}

function byTopic(numbered: readonly Numbered[]): Map<string, Numbered[]> {
  const topics = new Map<string, Numbered[]>()
  for (const each of numbered) {
    const same = topics.get(each.message.destination)
    if (same === undefined) topics.set(each.message.destination, [each])
    else same.push(each)
  }
  return topics
}

/** kafkajs may wait for an answer for ever: the deadline is our own. */
function inTime<T>(work: Promise<T>, ms: number, clock: Clock, signal: AbortSignal | undefined): Promise<T> {
  return new Promise((resolve, reject) => {
    const cancel = clock.after(ms, () =>
      end(() => reject(new HoldfastError('unavailable', `Kafka did not confirm within ${ms} ms`))),
    )
    const aborted = (): void =>
      end(() => reject(new HoldfastError('unavailable', 'publishing was aborted', { cause: signal?.reason })))
    function end(act: () => void): void {
      cancel()
      signal?.removeEventListener('abort', aborted)
      act()
    }
    signal?.addEventListener('abort', aborted, { once: true })
    work.then(
      (value) => end(() => resolve(value)),
      (error: unknown) => end(() => reject(error)),
    )
  })
}
