import { asError } from '../../core/as-error.ts'
import { Base, kGetApi, kGetBootstrapConnection, kGetConnection, kMetadata } from '@platformatic/kafka'
import type {
  API,
  BaseOptions,
  BrokerWithRack,
  ClusterMetadata,
  Connection,
  consumerGroupDescribeV0,
  consumerGroupHeartbeatV0,
  describeGroupsV5,
  fetchV17,
  findCoordinatorV6,
  heartbeatV4,
  joinGroupV9,
  leaveGroupV5,
  listOffsetsV9,
  offsetCommitV9,
  offsetFetchV9,
  syncGroupV5,
} from '@platformatic/kafka'
import { apiIdOf, isUnknownTopic } from './errors.ts'

/** What the client takes to reach the brokers: `clientId`, `bootstrapBrokers`, `tls`, `sasl`, `connectTimeout`. */
export type KafkaConnectionOptions = Pick<
  BaseOptions,
  'clientId' | 'bootstrapBrokers' | 'tls' | 'tlsServerName' | 'sasl' | 'connectTimeout' | 'metadataMaxAge' | 'context'
>

/** What the brokers tell of some topics. */
export interface FoundTopics extends Pick<ClusterMetadata, 'brokers' | 'topics'> {
  /** What they answered for each of the other topics. */
  readonly refused: ReadonlyMap<string, Error>
}

/** The requests that we send, under the protocol's names. Their arguments are the same in every version that we accept. */
interface Requests {
  readonly ConsumerGroupDescribe: typeof consumerGroupDescribeV0.api
  readonly ConsumerGroupHeartbeat: typeof consumerGroupHeartbeatV0.api
  readonly DescribeGroups: typeof describeGroupsV5.api
  readonly Fetch: typeof fetchV17.api
  readonly FindCoordinator: typeof findCoordinatorV6.api
  readonly Heartbeat: typeof heartbeatV4.api
  readonly JoinGroup: typeof joinGroupV9.api
  readonly LeaveGroup: typeof leaveGroupV5.api
  readonly ListOffsets: typeof listOffsetsV9.api
  readonly OffsetCommit: typeof offsetCommitV9.api
  readonly OffsetFetch: typeof offsetFetchV9.api
  readonly SyncGroup: typeof syncGroupV5.api
}

export type RequestName = keyof Requests
export type ArgumentsOf<Name extends RequestName> =
  Requests[Name] extends API<infer Arguments, infer _Answer> ? Arguments : never
export type AnswerOf<Name extends RequestName> =
  Requests[Name] extends API<infer _Arguments, infer Answer> ? Answer : never

/**
 * Requests of the Kafka protocol over one pool of connections.
 * A broker answers the requests of one connection in turn: a request that it holds back delays those behind it, so
 * joins, long polls and quick requests each get a wire of their own.
 */
export class Wire {
  readonly #base: Base

  constructor(options: KafkaConnectionOptions, requestTimeoutMs: number) {
    // The retries are ours: the client's own hide what happened.
    this.#base = new Base({ ...options, retries: 0, requestTimeout: requestTimeoutMs })
  }

  /** Metadata of the topics that exist. @throws where one that may exist cannot be looked up now. */
  async known(topics: readonly string[]): Promise<Pick<ClusterMetadata, 'brokers' | 'topics'>> {
    const found = await this.found(topics)
    const [first] = found.refused.values()
    if (first !== undefined && found.topics.size === 0) throw first
    for (const error of found.refused.values()) if (!isUnknownTopic(error)) throw error
    return found
  }

  /**
   * Metadata of the topics that the brokers tell of, and why they do not tell of the others. Asked for together, one such
   * topic hides the rest.
   * @throws where no broker answers.
   */
  async found(topics: readonly string[]): Promise<FoundTopics> {
    try {
      const { brokers, topics: found } = await this.metadata(topics)
      return { brokers, topics: found, refused: new Map() }
    } catch (error) {
      if (!isAnswer(error)) throw error
      return this.#oneByOne(topics)
    }
  }

  async #oneByOne(topics: readonly string[]): Promise<FoundTopics> {
    const answers = await Promise.all(
      topics.map((topic) =>
        this.metadata([topic]).then(
          (metadata) => ({ topic, metadata, error: undefined }),
          (error: unknown) => {
            if (!isAnswer(error)) throw error
            return { topic, metadata: undefined, error: asError(error) }
          },
        ),
      ),
    )
    const found = answers.flatMap(({ metadata }) => (metadata === undefined ? [] : [metadata]))
    return {
      brokers: found[0]?.brokers ?? new Map<number, BrokerWithRack>(),
      topics: new Map(found.flatMap((each) => [...each.topics])),
      refused: new Map(answers.flatMap(({ topic, error }) => (error === undefined ? [] : [[topic, error] as const]))),
    }
  }

  /** @throws where one of the topics does not exist. */
  metadata(topics: readonly string[], forceUpdate = false): Promise<ClusterMetadata> {
    return called((answer) => this.#base[kMetadata]({ topics: [...topics], forceUpdate }, answer))
  }

  /** The newest version that a broker speaks, by the request's name. */
  async versions(): Promise<ReadonlyMap<string, number>> {
    const apis = await this.#base.listApis()
    return new Map(apis.map(({ name, maxVersion }) => [name, maxVersion]))
  }

  /** Sends one request to a broker by its number, or to any. */
  async ask<Name extends RequestName>(
    node: number | undefined,
    name: Name,
    ...args: ArgumentsOf<Name>
  ): Promise<AnswerOf<Name>> {
    const [api, connection] = await Promise.all([this.#api(name), this.#connection(node)])
    return api.async(connection, ...args)
  }

  /** Forgets where topics and groups are, so that they are asked for again. */
  forget(): void {
    this.#base.clearMetadata()
  }

  async close(): Promise<void> {
    await this.#base.close().catch(() => {})
  }

  #api<Name extends RequestName>(name: Name): Promise<API<ArgumentsOf<Name>, AnswerOf<Name>>> {
    return called((answer) => this.#base[kGetApi]<ArgumentsOf<Name>, AnswerOf<Name>>(name, answer))
  }

  async #connection(node: number | undefined): Promise<Connection> {
    if (node === undefined) return called((answer) => this.#base[kGetBootstrapConnection](answer))
    const known = this.#base.currentMetadata?.brokers.get(node)
    const broker = known ?? (await this.metadata([], true)).brokers.get(node)
    if (broker === undefined) throw new Error(`broker ${node} is not in the cluster's metadata`)
    return called((answer) => this.#base[kGetConnection](broker, answer))
  }
}

/** Whether a broker said so. */
function isAnswer(error: unknown): boolean {
  return apiIdOf(error) !== undefined || isUnknownTopic(error)
}

type Answered<T> = (error: Error | null, value?: T) => void

function called<T>(call: (answer: Answered<T>) => void): Promise<T> {
  return new Promise((resolve, reject) =>
    call((error, value) => {
      if (error === null && value !== undefined) resolve(value)
      else reject(error ?? new Error('the client answered nothing'))
    }),
  )
}
