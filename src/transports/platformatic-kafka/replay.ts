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
import { checkOptions, list, objects, required, text } from '../../core/options.ts'
import { Coordinator, placeId, type Place } from './coordinator.ts'
import { apiIdOf, reasonOf } from './errors.ts'
import { Wire, type KafkaConnectionOptions } from './wire.ts'

export interface PlatformaticKafkaReplayOptions extends ReplayOptions {
  /** How to reach the brokers, as in {@link platformaticKafkaConsumer}. */
  readonly connection: KafkaConnectionOptions
  readonly groupId: string
  readonly topics: readonly string[]
}

/**
 * Moves a consumer group of Kafka back, so that its messages come again. Stop all its members first, of both protocols.
 * @throws HoldfastError `bad-order` for what it refuses; `unavailable` when Kafka cannot be reached or did not move the group.
 */
export async function platformaticKafkaReplay(options: PlatformaticKafkaReplayOptions): Promise<ReplayReport> {
  const { connection, groupId, topics, ...rest } = checkOptions('platformaticKafkaReplay', options, {
    connection: required(objects),
    groupId: required(text),
    topics: required(list),
    ...replayKinds,
  })
  return replay(new PlatformaticLog(connection, groupId, topics), rest)
}

export interface PlatformaticKafkaPromotionOptions extends PromotionGroups {
  /** How to reach the brokers, as in {@link platformaticKafkaConsumer}. */
  readonly connection: KafkaConnectionOptions
}

/**
 * Says the next step by which a second pipeline takes the place of the first, and changes nothing. See `PromotionStep`.
 * @throws HoldfastError `bad-order` for groups that do not fit together; `unavailable` when Kafka cannot be reached.
 */
export async function platformaticKafkaPromotion(options: PlatformaticKafkaPromotionOptions): Promise<PromotionReport> {
  const { connection, groupId, secondGroupId, topics } = checkOptions('platformaticKafkaPromotion', options, {
    connection: required(objects),
    ...promotionKinds,
  })
  return promotion(
    new PlatformaticLog(connection, groupId, topics),
    new PlatformaticLog(connection, secondGroupId, topics),
  )
}

const answerMs = 10_000
const earliest = -2n
const latest = -1n

class PlatformaticLog implements ReplayLog {
  readonly system = 'kafka'
  readonly group: string
  readonly #wire: Wire
  readonly #coordinator: Coordinator
  readonly #topics: readonly string[]

  constructor(connection: KafkaConnectionOptions, groupId: string, topics: readonly string[]) {
    this.group = groupId
    this.#wire = new Wire(connection, answerMs)
    this.#coordinator = new Coordinator(this.#wire, groupId)
    this.#topics = topics
  }

  async members(): Promise<readonly string[]> {
    const both = await Promise.all([this.#classic(), this.#ofConsumerProtocol()]).catch(unavailable)
    return both.flat().map(({ clientId, clientHost, memberId }) => `${clientId} at ${clientHost} (${memberId})`)
  }

  async #classic() {
    const { groups } = await this.#coordinator.ask('DescribeGroups', [this.group], false)
    return groups.flatMap(({ members }) => members)
  }

  /** A group has one protocol. The request for the other one says that there is no such group. */
  async #ofConsumerProtocol() {
    if (!(await this.#wire.versions()).has('ConsumerGroupDescribe')) return []
    try {
      const { groups } = await this.#coordinator.ask('ConsumerGroupDescribe', [this.group], false)
      return groups.flatMap(({ members }) => members)
    } catch (error) {
      if (apiIdOf(error) === 'GROUP_ID_NOT_FOUND') return []
      throw error
    }
  }

  async states(): Promise<readonly LogState[]> {
    const places = await this.#places()
    const committed = await this.#coordinator.committed(places).catch(unavailable)
    return Promise.all(
      places.map(async (place) => {
        const name = placeId(place.topic, place.partition)
        const [low, high] = await Promise.all([this.#offsetAt(place, earliest), this.#offsetAt(place, latest)])
        return { name, low, high, stands: committed.get(name) }
      }),
    )
  }

  async positionsAt(timeMs: number): Promise<ReadonlyMap<string, number>> {
    const positions = (await this.#places()).map(async (place) => {
      const found = await this.#offsetAt(place, BigInt(Math.ceil(timeMs)))
      return [placeId(place.topic, place.partition), found < 0 ? await this.#offsetAt(place, latest) : found] as const
    })
    return new Map(await Promise.all(positions))
  }

  async move(positions: ReadonlyMap<string, number>): Promise<void> {
    const places = (await this.#places()).flatMap((place) => {
      const position = positions.get(placeId(place.topic, place.partition))
      return position === undefined ? [] : [{ ...place, position }]
    })
    // Of no member: Kafka takes it only while the group is empty.
    await this.#coordinator.commit({ id: '', epoch: -1 }, places).catch(unavailable)
  }

  close(): Promise<void> {
    return this.#wire.close()
  }

  async #places(): Promise<readonly Place[]> {
    const { topics } = await this.#wire.metadata(this.#topics).catch(unavailable)
    return this.#topics.flatMap((topic) =>
      (topics.get(topic)?.partitions ?? []).map((_, partition) => ({ topic, partition })),
    )
  }

  async #offsetAt({ topic, partition }: Place, timestamp: bigint): Promise<number> {
    const asked = { name: topic, partitions: [{ partitionIndex: partition, currentLeaderEpoch: -1, timestamp }] }
    try {
      const { topics } = await this.#wire.metadata([topic])
      const leader = topics.get(topic)?.partitions[partition]?.leader
      const answer = await this.#wire.ask(leader, 'ListOffsets', -1, 1, [asked])
      return Number(answer.topics[0]?.partitions[0]?.offset)
    } catch (error) {
      return unavailable(error)
    }
  }
}

function unavailable(error: unknown): never {
  throw new HoldfastError('unavailable', `replay: Kafka: ${reasonOf(error)}`, { cause: error })
}
