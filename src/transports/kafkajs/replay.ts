import type { Admin, Kafka } from 'kafkajs'
import { replayKinds, type ReplayOptions } from '../../consumer/replay/options.ts'
import {
  promotion,
  promotionKinds,
  type PromotionGroups,
  type PromotionReport,
} from '../../consumer/replay/promotion.ts'
import { replay, type ReplayReport } from '../../consumer/replay/replay.ts'
import type { LogState, ReplayLog } from '../../consumer/replay/replay-log.ts'
import { HoldfastError } from '../../core/errors.ts'
import { checkOptions, having, list, required, text } from '../../core/options.ts'
import { faultOf } from './kafka-errors.ts'

export interface KafkajsReplayOptions extends ReplayOptions {
  /** The service's kafkajs client. */
  readonly kafka: Pick<Kafka, 'admin'>
  readonly groupId: string
  readonly topics: readonly string[]
}

/**
 * Moves a consumer group of Kafka back, so that its messages come again. Stop all its members first.
 * @throws HoldfastError `bad-order` for what it refuses; `unavailable` when Kafka cannot be reached or did not move the group.
 */
export async function kafkajsReplay(options: KafkajsReplayOptions): Promise<ReplayReport> {
  const { kafka, groupId, topics, ...rest } = checkOptions('kafkajsReplay', options, {
    kafka: required(having('admin')),
    groupId: required(text),
    topics: required(list),
    ...replayKinds,
  })
  return replay(await logOf(kafka, groupId, topics), rest)
}

export interface KafkajsPromotionOptions extends PromotionGroups {
  /** The service's kafkajs client. */
  readonly kafka: Pick<Kafka, 'admin'>
}

/**
 * Says the next step by which a second pipeline takes the place of the first, and changes nothing. See `PromotionStep`.
 * @throws HoldfastError `bad-order` for groups that do not fit together; `unavailable` when Kafka cannot be reached.
 */
export async function kafkajsPromotion(options: KafkajsPromotionOptions): Promise<PromotionReport> {
  const { kafka, groupId, secondGroupId, topics } = checkOptions('kafkajsPromotion', options, {
    kafka: required(having('admin')),
    ...promotionKinds,
  })
  const first = await logOf(kafka, groupId, topics)
  const second = await logOf(kafka, secondGroupId, topics).catch(async (error: unknown) => {
    await first.close().catch(() => undefined)
    throw error
  })
  return promotion(first, second)
}

async function logOf(kafka: Pick<Kafka, 'admin'>, group: string, topics: readonly string[]): Promise<KafkajsLog> {
  const admin = kafka.admin()
  try {
    await admin.connect()
  } catch (error) {
    await admin.disconnect().catch(() => undefined)
    unavailable(error)
  }
  return new KafkajsLog(admin, group, topics)
}

class KafkajsLog implements ReplayLog {
  readonly system = 'kafka'
  readonly group: string
  readonly #admin: Admin
  readonly #topics: readonly string[]

  constructor(admin: Admin, groupId: string, topics: readonly string[]) {
    this.#admin = admin
    this.group = groupId
    this.#topics = topics
  }

  async members(): Promise<readonly string[]> {
    const { groups } = await this.#admin.describeGroups([this.group]).catch(unavailable)
    const [group] = groups
    // A group of the new protocol looks dead to this request, even if members run in it.
    if (group?.state === 'Dead' && (await this.states()).some(({ stands }) => stands !== undefined))
      return ['members that kafkajs cannot see: the group uses the consumer protocol, so use platformaticKafkaReplay()']
    return (group?.members ?? []).map(
      ({ clientId, clientHost, memberId }) => `${clientId} at ${clientHost} (${memberId})`,
    )
  }

  async states(): Promise<readonly LogState[]> {
    const committed = await this.#admin
      .fetchOffsets({ groupId: this.group, topics: [...this.#topics] })
      .catch(unavailable)
    const states = this.#topics.map(async (topic) => {
      const stands = committed.find((each) => each.topic === topic)?.partitions ?? []
      const log = await this.#admin.fetchTopicOffsets(topic).catch(unavailable)
      return log.map(({ partition, low, high }) => {
        const offset = Number(stands.find((each) => each.partition === partition)?.offset ?? -1)
        return {
          name: `${topic}/${partition}`,
          low: Number(low),
          high: Number(high),
          stands: offset < 0 ? undefined : offset,
        }
      })
    })
    return (await Promise.all(states)).flat()
  }

  async positionsAt(timeMs: number): Promise<ReadonlyMap<string, number>> {
    const positions = this.#topics.map(async (topic) => {
      const found = await this.#admin.fetchTopicOffsetsByTimestamp(topic, timeMs).catch(unavailable)
      return found.map(({ partition, offset }) => [`${topic}/${partition}`, Number(offset)] as const)
    })
    return new Map((await Promise.all(positions)).flat())
  }

  async move(positions: ReadonlyMap<string, number>): Promise<void> {
    for (const topic of this.#topics) {
      const partitions = [...positions]
        .filter(([name]) => name.slice(0, name.lastIndexOf('/')) === topic)
        .map(([name, position]) => ({
          partition: Number(name.slice(name.lastIndexOf('/') + 1)),
          offset: String(position),
        }))
      if (partitions.length > 0)
        await this.#admin.setOffsets({ groupId: this.group, topic, partitions }).catch(unavailable)
    }
  }

  close(): Promise<void> {
    return this.#admin.disconnect()
  }
}

function unavailable(error: unknown): never {
  const { type, message } = faultOf(error)
  throw new HoldfastError('unavailable', `replay: Kafka: ${type ?? message}`, { cause: error })
}
