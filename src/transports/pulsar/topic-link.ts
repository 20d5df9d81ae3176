import type { QueueHost } from '../../consumer/queue/queue-client.ts'
import { sleep, type Clock } from '../../core/clock.ts'
import { HoldfastError } from '../../core/errors.ts'
import { Attachment, type AttachmentOptions, type PulsarRecord } from './attachment.ts'
import { fullName, type PulsarClient } from './client.ts'
import { consumerName, nextConsumerId } from './consumer-ids.ts'
import { PulsarError } from './protocol/errors.ts'

export type SubscriptionType = 'Key_Shared' | 'Failover' | 'Exclusive' | 'Shared'

export interface TopicLinkOptions extends AttachmentOptions {
  readonly client: PulsarClient
  readonly subscription: string
  readonly type: SubscriptionType
  readonly startFrom: 'earliest' | 'latest'
  readonly host: QueueHost<PulsarRecord>
  readonly clock: Clock
}

const types: Readonly<Record<SubscriptionType, number>> = { Exclusive: 0, Shared: 1, Failover: 2, Key_Shared: 3 }
const firstWaitMs = 100
const longestWaitMs = 3_000

const forGood: ReadonlySet<string> = new Set([
  ...['AuthenticationError', 'AuthorizationError', 'InvalidTopicName', 'TopicNotFound', 'SubscriptionNotFound'],
  ...['IncompatibleSchema', 'NotAllowedError'],
])

export function isForGood(error: unknown): boolean {
  return error instanceof PulsarError && forGood.has(error.code)
}

/** Keeps one topic subscribed. Every answered subscribe is an ownership, under a consumer id that was never used before. */
export class TopicLink {
  readonly topic: string
  problem: string | undefined
  readonly #options: TopicLinkOptions

  constructor(options: TopicLinkOptions) {
    this.#options = options
    this.topic = options.topic
    this.problem = `${options.topic} is not subscribed yet`
  }

  /** The one owner of the attempts: a second one would subscribe twice. */
  async run(signal: AbortSignal): Promise<void> {
    const { clock, host } = this.#options
    let waitMs = firstWaitMs
    while (!signal.aborted) {
      try {
        const attachment = await this.#subscribe(signal)
        waitMs = firstWaitMs
        await attachment.gone
      } catch (error) {
        // eslint-disable-next-line @typescript-eslint/no-unnecessary-condition -- it may abort while we wait
        if (signal.aborted) return
        this.problem = `${this.topic} cannot be subscribed: ${reasonOf(error)}`
        if (isForGood(error)) return host.failed(new HoldfastError('unavailable', this.problem, { cause: error }))
        host.report('subscribe-failed', { source: this.topic }, error)
      }
      await sleep(clock, waitMs, signal).catch(() => {})
      waitMs = Math.min(2 * waitMs, longestWaitMs)
    }
  }

  async #subscribe(signal: AbortSignal): Promise<Attachment> {
    const { client, subscription, type, startFrom, host } = this.#options
    const connection = await client.connectionFor(this.topic)
    const consumerId = nextConsumerId()
    const attachment = new Attachment(this.#options, connection, consumerId, (why) => (this.problem = why))
    connection.consumers.set(consumerId, attachment)
    try {
      await connection.request('subscribe', {
        ...{ topic: fullName(this.topic), subscription, type: types[type], isDurable: true },
        ...{ consumerId, consumerName: consumerName(consumerId) },
        initialPosition: startFrom === 'earliest' ? 1 : 0,
        ...(type === 'Key_Shared' ? { keyShared: { mode: 0, allowsDisorder: false } } : {}),
      })
    } catch (error) {
      connection.consumers.delete(consumerId)
      // The broker may have it all the same, and would give it keys.
      if (error instanceof PulsarError && error.code === 'TimedOut') attachment.abandon()
      throw error
    }
    if (signal.aborted) attachment.abandon()
    // It may have ended since: then the attempts go on.
    else if (!attachment.isGone) {
      this.problem = undefined
      attachment.begin(host)
    }
    return attachment
  }
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error)
}
