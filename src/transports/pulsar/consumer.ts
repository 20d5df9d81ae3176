import type { Consumer, ConsumerOptions, DeliveryContext } from '../../consumer/consumer.ts'
import { pipelineNotes, requireFit } from '../../consumer/fits-pipeline.ts'
import type { QueueClient, QueueHost, QueueMembership } from '../../consumer/queue/queue-client.ts'
import { queueConsumer } from '../../consumer/queue/queue-consumer.ts'
import { replayKind, type Replaying } from '../../consumer/replay/plan.ts'
import { sleep, systemClock } from '../../core/clock.ts'
import type { Delivery } from '../../core/delivery.ts'
import { HoldfastError } from '../../core/errors.ts'
import type { Bytes } from '../../core/message.ts'
import {
  badOption,
  callback,
  checkOptions,
  clockKind,
  count,
  having,
  list,
  ms,
  oneOf,
  required,
  text,
} from '../../core/options.ts'
import { features } from '../features.ts'
import type { PulsarRecord } from './attachment.ts'
import type { PulsarClient } from './client.ts'
import type { PulsarMessageId } from './codec.ts'
import { clientKind, isOfficial, type OfficialPulsarClient } from './official/official-client.ts'
import { OfficialQueueClient } from './official/official-consumer.ts'
import { sourcesOf } from './partitions.ts'
import { pulsarPosition } from './position.ts'
import { isDenied, PulsarError } from './protocol/errors.ts'
import { isForGood, TopicLink, type SubscriptionType, type TopicLinkOptions } from './topic-link.ts'

export interface PulsarConsumerOptions extends ConsumerOptions, Replaying {
  /** Made with `pulsarClient()`, or a client of the official package. It stays yours. */
  readonly client: PulsarClient | OfficialPulsarClient
  /** Its members share the messages; every subscription gets all of them. */
  readonly subscription: string
  readonly topics: readonly string[]
  /**
   * `Key_Shared`: each key in order over all members. `Failover`: the order of a topic, on one member at a time.
   * `Exclusive`: one member only. `Shared`: no order at all. @defaultValue `'Key_Shared'`
   */
  readonly type?: SubscriptionType
  /** Where a subscription begins that was never there before. @defaultValue `'earliest'` */
  readonly startFrom?: 'earliest' | 'latest'
  /** Most messages of one topic in memory, waiting or running. @defaultValue 256 */
  readonly window?: number
  /** Returns the message's id. @defaultValue the property `message-id` or `ce_id`, else the place in the topic */
  readonly id?: PulsarMessageId
  /** Longest wait in ms for the first answer of the broker. @defaultValue 30_000 */
  readonly connectWithinMs?: number
}

/**
 * Consumes topics of Pulsar: many keys in parallel, each in order. Each message is acked by itself, with a receipt, when
 * it is done. Nothing is nacked: a message that must wait stays unacked and holds its key.
 */
export function pulsarConsumer(options: PulsarConsumerOptions): Consumer {
  const self = 'pulsarConsumer'
  const {
    client,
    subscription,
    topics,
    type = 'Key_Shared',
    startFrom = 'earliest',
    window = 256,
    id,
    connectWithinMs = 30_000,
    clock = systemClock,
    pipeline,
    ...rest
  } = checkOptions(self, options, {
    client: required(clientKind),
    subscription: required(text),
    topics: required(list),
    pipeline: required(having('step')),
    type: oneOf('Key_Shared', 'Failover', 'Exclusive', 'Shared'),
    startFrom: oneOf('earliest', 'latest'),
    window: count(),
    id: callback,
    connectWithinMs: ms(),
    concurrency: count(),
    redeliverMs: ms(),
    drainMs: ms(),
    hungAfterMs: ms(),
    clock: clockKind,
    replay: replayKind,
  })
  if (topics.length === 0) throw badOption(self, 'topics', 'a list of at least one topic', topics)
  for (const [at, topic] of topics.entries())
    if (!text.fits(topic)) throw badOption(self, `topics[${at}]`, text.wanted, topic)
  requireFit(self, options)
  const notes = new Set(pipelineNotes(pipeline.stages))
  const note = (said: string): void => void notes.add(said)
  const link = { subscription, type, startFrom, id, clock, note, topics: [...new Set(topics)] }
  const shared = {
    group: subscription,
    pipeline,
    buffer: window,
    ahead: Number.MAX_SAFE_INTEGER,
    notes: () => notes,
    clock,
    ...rest,
  }
  return isOfficial(client)
    ? queueConsumer({ client: new OfficialQueueClient({ ...link, client, window }), ...shared })
    : queueConsumer({ client: new PulsarQueueClient({ ...link, client, connectWithinMs }), ...shared })
}

interface QueueClientOptions extends Omit<TopicLinkOptions, 'topic' | 'host'> {
  readonly topics: readonly string[]
  readonly connectWithinMs: number
}

class PulsarQueueClient implements QueueClient<PulsarRecord> {
  readonly system = 'pulsar'
  readonly features = features.pulsar
  readonly #options: QueueClientOptions
  /** Topics, and the partitions of those that have some. */
  #sources: readonly string[] = []

  constructor(options: QueueClientOptions) {
    this.#options = options
  }

  keyOf({ message }: PulsarRecord): string | null {
    return message.key
  }

  positionOf({ raw: { messageId } }: PulsarRecord): number {
    return pulsarPosition(messageId.ledgerId ?? NaN, messageId.entryId ?? NaN)
  }

  deliveryOf({ message, raw, error }: PulsarRecord, source: string, context: DeliveryContext): Delivery<Bytes> {
    if (error !== undefined) throw new HoldfastError('unavailable', `${message.id}: ${error.message}`, { cause: error })
    const { pipeline, group, attempt, signal, draining } = context
    const [destination = source, partition] = source.split(/-partition-(?=\d+$)/)
    const { ledgerId, entryId } = raw.messageId
    const origin = {
      ...{ system: this.system, destination, partition: partition ?? null, group },
      position: `${ledgerId}:${entryId}:${raw.batchIndex}`,
    }
    return { message, bytes: message.body, pipeline, origin, attempt, signal, draining, raw }
  }

  async check(signal: AbortSignal): Promise<void> {
    const { clock, connectWithinMs } = this.#options
    const untilMs = clock.now() + connectWithinMs
    for (;;)
      try {
        this.#sources = await sourcesOf(this.#options.client, this.#options.topics)
        return
      } catch (error) {
        if (signal.aborted) return
        if (isForGood(error) || (error instanceof PulsarError && isDenied(error)) || clock.now() > untilMs) {
          const why = error instanceof Error ? error.message : String(error)
          throw new HoldfastError('unavailable', `pulsar: the topics cannot be read: ${why}`, { cause: error })
        }
        await sleep(clock, 100, signal).catch(() => {})
      }
  }

  open(host: QueueHost<PulsarRecord>): Promise<QueueMembership> {
    const ending = new AbortController()
    const links = this.#sources.map((topic) => new TopicLink({ ...this.#options, topic, host }))
    const running = links.map((link) => link.run(ending.signal))
    return Promise.resolve({
      problem: () => links.find(({ problem }) => problem !== undefined)?.problem,
      quiet: () => ending.abort(new HoldfastError('stopped', 'shutting down')),
      leave: () => Promise.all(running).then(() => {}),
    })
  }
}
