import { Base, kGetApi, kGetBootstrapConnection, kGetConnection, kMetadata } from '@platformatic/kafka'
import type {
  API,
  BaseOptions,
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
import { isUnknownTopic } from './errors.ts'

/** What the client takes to reach the brokers: `clientId`, `bootstrapBrokers`, `tls`, `sasl`, `connectTimeout`. */
export type KafkaConnectionOptions = Pick<
  BaseOptions,
  'clientId' | 'bootstrapBrokers' | 'tls' | 'tlsServerName' | 'sasl' | 'connectTimeout' | 'metadataMaxAge' | 'context'
>

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

  /** Metadata of the topics that exist: asked for together, one missing topic hides the others. */
  async known(topics: readonly string[]): Promise<Pick<ClusterMetadata, 'brokers' | 'topics'>> {
    try {
      return await this.metadata(topics)
    } catch (error) {
      if (!isUnknownTopic(error)) throw error
      const each = await Promise.all(topics.map((topic) => this.#ifKnown(topic)))
      const found = each.filter((one) => one !== undefined)
      const [first] = found
      if (first === undefined) throw error
      return { brokers: first.brokers, topics: new Map(found.flatMap(({ topics: some }) => [...some])) }
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

  #ifKnown(topic: string): Promise<ClusterMetadata | undefined> {
    return this.metadata([topic]).catch((error: unknown) => {
      if (isUnknownTopic(error)) return undefined
      throw error
    })
  }
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
