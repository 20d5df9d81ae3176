import type { ConsumerConfig, ConsumerInfo, JetStreamManager } from '@nats-io/jetstream'
import { nanos } from '@nats-io/transport-node'
import { replayKinds, type ReplayOptions } from '../../consumer/replay/options.ts'
import { replay, type ReplayReport } from '../../consumer/replay/replay.ts'
import type { LogState, ReplayLog } from '../../consumer/replay/replay-log.ts'
import { systemClock } from '../../core/clock.ts'
import { HoldfastError } from '../../core/errors.ts'
import { checkOptions, having, list, ms, required, text } from '../../core/options.ts'
import { ackedFloor } from './acked-floor.ts'
import { consumerName } from './consumer-name.ts'
import { reasonOf } from './errors.ts'
import { Leases, type LeaseBucket } from './leases.ts'
import type { NatsPartition } from './partition.ts'

export interface NatsReplayOptions extends ReplayOptions {
  readonly jsm: Pick<JetStreamManager, 'consumers' | 'streams'>
  /** The bucket of the group's leases. */
  readonly kv: LeaseBucket
  readonly stream: string
  readonly group: string
  /** The partitions of the group's consumers. */
  readonly partitions: readonly NatsPartition[]
  /** `leaseMs` of the group's consumers. For that long it is watched whether a member renews its lease. @defaultValue 6000 */
  readonly leaseMs?: number
}

/**
 * Moves a group of a JetStream stream back, so that its messages come again. Stop all its members first.
 * @throws HoldfastError `bad-order` for what it refuses; `unavailable` when NATS cannot be reached, when the stream keeps no
 * acked messages, or when a member claimed a partition meanwhile.
 */
export async function natsReplay(options: NatsReplayOptions): Promise<ReplayReport> {
  const {
    jsm,
    kv,
    stream,
    group,
    partitions,
    leaseMs = 6000,
    ...rest
  } = checkOptions('natsReplay', options, {
    jsm: required(having()),
    kv: required(having('get', 'create', 'update', 'keys')),
    stream: required(text),
    group: required(text),
    partitions: required(list),
    leaseMs: ms(100),
    ...replayKinds,
  })
  const leases = new Leases(kv, group, rest.clock ?? systemClock)
  return replay(new NatsLog({ jsm, leases, stream, group, partitions, leaseMs }), rest)
}

interface NatsLogOptions extends Pick<NatsReplayOptions, 'jsm' | 'stream' | 'group' | 'partitions'> {
  readonly leases: Leases
  readonly leaseMs: number
}

/** Positions are sequences of the whole stream. */
class NatsLog implements ReplayLog {
  readonly system = 'nats'
  readonly group: string
  readonly #options: NatsLogOptions

  constructor(options: NatsLogOptions) {
    this.group = options.group
    this.#options = options
  }

  members(): Promise<readonly string[]> {
    const { leases, leaseMs } = this.#options
    return leases.moving(leaseMs).catch(unavailable)
  }

  async states(): Promise<readonly LogState[]> {
    const { jsm, stream, partitions } = this.#options
    const { config, state } = await jsm.streams.info(stream).catch(unavailable)
    if (config.retention !== 'limits')
      throw new HoldfastError(
        'unavailable',
        `replay: stream '${stream}' has the retention '${config.retention}': what was acked is gone from it`,
      )
    return Promise.all(
      partitions.map(async ({ name }) => ({
        name,
        low: state.first_seq,
        high: state.last_seq + 1,
        stands: await this.#stands(name, state.last_seq),
      })),
    ).catch(unavailable)
  }

  async #stands(name: string, last: number): Promise<number | undefined> {
    const { jsm, stream, group, leases } = this.#options
    const { lease } = await leases.read(name)
    if (lease === undefined) return undefined
    const floor = Math.max(lease.floor, await ackedFloor(jsm, stream, consumerName(group, name, lease.epoch)))
    // Beyond the end: the stream was made anew.
    return floor > last ? undefined : floor + 1
  }

  async positionsAt(timeMs: number): Promise<ReadonlyMap<string, number>> {
    const start = { deliver_policy: 'by_start_time', opt_start_time: new Date(timeMs).toISOString() } as const
    const positions = this.#options.partitions.map(async ({ name, filter }) => {
      const { delivered } = await this.#look(filter, start)
      return [name, delivered.stream_seq + 1] as const
    })
    return new Map(await Promise.all(positions))
  }

  async count(name: string, from: number, to: number): Promise<number> {
    const filter = this.#options.partitions.find((each) => each.name === name)?.filter ?? ''
    const pending = async (position: number): Promise<number> => {
      const start = { deliver_policy: 'by_start_sequence', opt_start_seq: position } as const
      return (await this.#look(filter, start)).num_pending
    }
    return (await pending(from)) - (await pending(to))
  }

  /** The server says by a consumer where something begins and how much follows. Nothing is read through it. */
  async #look(filter: string, start: Partial<ConsumerConfig>): Promise<ConsumerInfo> {
    const { jsm, stream } = this.#options
    const made = await jsm.consumers
      .add(stream, { filter_subject: filter, ack_policy: 'none', inactive_threshold: nanos(5000), ...start })
      .catch(unavailable)
    await jsm.consumers.delete(stream, made.name).catch(() => {})
    return made
  }

  async move(positions: ReadonlyMap<string, number>): Promise<void> {
    for (const [name, position] of positions) await this.#moveOne(name, position).catch(unavailable)
  }

  /** The next epoch, whose consumer nobody made: the member that claims it begins at its floor. Written by revision, so a claim of now wins. */
  async #moveOne(name: string, position: number): Promise<void> {
    const { jsm, stream, group, leases } = this.#options
    const { lease, revision } = await leases.read(name)
    const epoch = lease?.epoch ?? 0
    await leases.write(name, { owner: null, epoch: epoch + 1, floor: position - 1 }, revision)
    for (const old of [epoch, epoch - 1])
      if (old > 0) await jsm.consumers.delete(stream, consumerName(group, name, old)).catch(() => {})
  }

  async close(): Promise<void> {
    // The connection is the service's.
  }
}

function unavailable(error: unknown): never {
  if (error instanceof HoldfastError) throw error
  throw new HoldfastError('unavailable', `replay: NATS: ${reasonOf(error)}`, { cause: error })
}
