import type { QueueClient, QueueHost, QueueMembership } from '../../consumer/queue/queue-client.ts'
import { HoldfastError } from '../../core/errors.ts'
import type { Features } from '../../consumer/features.ts'
import { features } from '../features.ts'
import { checkQueues, type CheckedQueues } from './check-queues.ts'
import type { RabbitmqRecord } from './codec.ts'
import { ChannelSource, type RabbitmqConnection } from './connection.ts'
import { deliveryReader, isFirst } from './delivery.ts'
import { FairShare } from './fair-share.ts'
import { QueueHolder, type HolderOptions } from './queue-holder.ts'

export interface RabbitmqClientOptions extends HolderOptions {
  readonly connection: RabbitmqConnection
  readonly queues: readonly string[]
  readonly group: string
  readonly shareEveryMs: number
  readonly checked: (found: CheckedQueues) => void
  readonly check: boolean
  readonly random: () => number
}

/** What of the consumer is RabbitMQ's alone: channels, the check of the queues, and who has which queue. */
export class RabbitmqClient implements QueueClient<RabbitmqRecord> {
  readonly system = 'rabbitmq'
  readonly features: Features = features.rabbitmq
  readonly isFirst: (record: RabbitmqRecord) => boolean = isFirst
  readonly deliveryOf: QueueClient<RabbitmqRecord>['deliveryOf']
  readonly #options: RabbitmqClientOptions
  readonly #channels: ChannelSource

  constructor(options: RabbitmqClientOptions) {
    this.#options = options
    this.deliveryOf = deliveryReader(options.id)
    this.#channels = new ChannelSource(options.connection, options.clock)
  }

  keyOf({ message }: RabbitmqRecord): string | null {
    return message.key
  }

  async check(signal: AbortSignal): Promise<void> {
    const { queues, order, check, checked } = this.#options
    try {
      if (check) checked(await checkQueues({ queues, order, open: () => this.#channels.open(signal) }))
    } catch (error) {
      if (!signal.aborted) throw error
    } finally {
      this.#channels.dispose()
    }
  }

  open(host: QueueHost<RabbitmqRecord>): Promise<QueueMembership> {
    return Promise.resolve(new RabbitmqMembership(this.#options, this.#channels, host))
  }
}

class RabbitmqMembership implements QueueMembership {
  readonly #channels: ChannelSource
  readonly #holders: readonly QueueHolder[]
  readonly #ending = new AbortController()
  readonly #sharing: Promise<void>

  constructor(options: RabbitmqClientOptions, channels: ChannelSource, host: QueueHost<RabbitmqRecord>) {
    this.#channels = channels
    this.#holders = options.queues.map((queue) => new QueueHolder(queue, options, channels, host))
    for (const holder of this.#holders) void holder.run(this.#ending.signal)
    this.#sharing =
      options.order === 'key' && options.queues.length > 1 ? this.#share(options, host) : Promise.resolve()
  }

  #share(options: RabbitmqClientOptions, host: QueueHost<RabbitmqRecord>): Promise<void> {
    const { group, queues, shareEveryMs, random, clock } = options
    const share = new FairShare<RabbitmqRecord>({
      group,
      queues: queues.length,
      everyMs: shareEveryMs,
      channels: this.#channels,
      owned: () => this.#holders.flatMap(({ owned }) => (owned === undefined || owned.isOver ? [] : [owned])),
      failed: (error) => host.report('share-failed', { group }, error),
      random,
      clock,
    })
    return share.run(this.#ending.signal)
  }

  problem(): string | undefined {
    return this.#holders.find(({ problem }) => problem !== undefined)?.problem
  }

  quiet(): void {
    this.#ending.abort(new HoldfastError('stopped', 'shutting down'))
  }

  async leave(): Promise<void> {
    await this.#sharing
    this.#channels.dispose()
  }
}
