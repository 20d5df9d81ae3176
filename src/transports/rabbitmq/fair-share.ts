import type { Channel } from 'amqplib'
import type { Ownership } from '../../consumer/queue/queue-client.ts'
import { sleep, type Clock } from '../../core/clock.ts'
import { ignore, type ChannelSource } from './connection.ts'

export interface FairShareOptions<Raw> {
  readonly group: string
  readonly queues: number
  readonly everyMs: number
  readonly channels: ChannelSource
  readonly owned: () => readonly Ownership<Raw>[]
  readonly failed: (error: unknown) => void
  readonly random: () => number
  readonly clock: Clock
}

// Nobody's any more after a minute without members.
const expiresMs = 60_000

/**
 * Hands queues on until no member has more than its share. RabbitMQ makes the first member the active consumer of every
 * queue, and says of such a queue that it has one consumer, even if others wait. So the members consume one more queue,
 * which carries nothing, and its consumers are counted.
 */
export class FairShare<Raw> {
  readonly #options: FairShareOptions<Raw>
  #channel: Channel | undefined

  constructor(options: FairShareOptions<Raw>) {
    this.#options = options
  }

  async run(signal: AbortSignal): Promise<void> {
    const { everyMs, random, clock, failed } = this.#options
    while (!signal.aborted) {
      try {
        await sleep(clock, everyMs * (0.75 + random() / 2), signal)
        await this.#look(signal)
      } catch (error) {
        if (!isAborted(signal)) failed(error)
      }
    }
    await this.#channel?.close().catch(ignore)
  }

  async #look(signal: AbortSignal): Promise<void> {
    const { group, queues, owned, random } = this.#options
    const channel = (this.#channel ??= await this.#join(signal))
    const { consumerCount } = await channel.checkQueue(membersOf(group))
    const mine = owned().filter((each) => each.isActive && !each.isLeaving)
    if (mine.length <= Math.ceil(queues / Math.max(1, consumerCount))) return
    await mine[Math.floor(random() * mine.length)]?.handOver('fair share')
  }

  async #join(signal: AbortSignal): Promise<Channel> {
    const { group, channels } = this.#options
    const channel = await channels.open(signal)
    channel.on('close', () => (this.#channel = undefined))
    const members = membersOf(group)
    await channel.assertQueue(members, { durable: true, arguments: { 'x-expires': expiresMs } })
    await channel.consume(members, ignore, { noAck: true })
    return channel
  }
}

function membersOf(group: string): string {
  return `${group}.members`
}

/** It may have aborted while something was awaited, out of the compiler's sight. */
export function isAborted(signal: AbortSignal): boolean {
  return signal.aborted
}
