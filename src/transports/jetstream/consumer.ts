import type { NatsConnection } from '@nats-io/transport-node'
import type { JetStreamClient, JetStreamManager } from '@nats-io/jetstream'
import { consumerKinds, type Consumer, type ConsumerOptions } from '../../consumer/consumer.ts'
import { replayKind, type Replaying } from '../../consumer/replay/plan.ts'
import { pipelineNotes, requireFit } from '../../consumer/fits-pipeline.ts'
import { priorityOf } from '../../consumer/priority.ts'
import { queueConsumer } from '../../consumer/queue/queue-consumer.ts'
import { systemClock } from '../../core/clock.ts'
import {
  badOption,
  callback,
  checkOptions,
  count,
  having,
  list,
  ms,
  objects,
  oneOf,
  required,
  text,
  type Kinds,
} from '../../core/options.ts'
import { NatsClient } from './client.ts'
import { Leases, type LeaseBucket } from './leases.ts'
import type { NatsPartition } from './partition.ts'
import type { NatsMessageId } from './record.ts'

export interface NatsConsumerOptions extends ConsumerOptions, Replaying {
  /** The service's connection: `connect({ …, maxReconnectAttempts: -1, waitOnFirstConnect: true, noAsyncTraces: true })`. */
  readonly nc: Pick<NatsConnection, 'request'>
  readonly js: Pick<JetStreamClient, 'consumers'>
  readonly jsm: Pick<JetStreamManager, 'consumers' | 'streams'>
  /** A bucket for the leases of the group's partitions: `new Kvm(js).create('holdfast')`. */
  readonly kv: LeaseBucket
  readonly stream: string
  /** The group's name, of letters, digits, `-` and `_`. Members of one group share the partitions. Each group gets all messages. */
  readonly group: string
  /** The partitions, as made by `numberedPartitions()`. One member at a time handles each, in order. All members must name the same ones. */
  readonly partitions: readonly NatsPartition[]
  /** Where a new group starts. @defaultValue 'earliest' */
  readonly startFrom?: 'earliest' | 'latest'
  /** How many messages past its partition's first unfinished one a message may start. @defaultValue 256 */
  readonly ahead?: number
  /**
   * Names of partitions whose messages start before those of the others, which get `floor` of the starts (0.1) in any case.
   * @defaultValue all in order of arrival
   */
  readonly priority?: { readonly partitions: readonly string[]; readonly floor?: number }
  /** Returns the message's id. @defaultValue the header `message-id`, `ce_id` or `Nats-Msg-Id`, else the place in the stream */
  readonly id?: NatsMessageId
  /** Ms until the server redelivers an unacked message. The consumer extends this every `ackWaitMs / 3`. @defaultValue 30_000 */
  readonly ackWaitMs?: number
  /** Length of a partition's lease in ms. Without a renewal another member takes the partition after that. @defaultValue 6000 */
  readonly leaseMs?: number
  /** Interval in ms at which a member checks for partitions to take or to release. @defaultValue 500 */
  readonly shareEveryMs?: number
}

const self = 'natsConsumer'
const natsName = /^[A-Za-z0-9_-]+$/

const kinds: Kinds<NatsConsumerOptions> = {
  nc: required(having('request')),
  js: required(having()),
  jsm: required(having()),
  kv: required(having('get', 'create', 'update', 'put', 'keys', 'delete')),
  stream: required(text),
  group: required({
    wanted: 'of letters, digits, - and _',
    fits: (value) => text.fits(value) && natsName.test(String(value)),
  }),
  partitions: required(list),
  startFrom: oneOf('earliest', 'latest'),
  ahead: count(),
  priority: objects,
  id: callback,
  ackWaitMs: ms(100),
  leaseMs: ms(100),
  shareEveryMs: ms(),
  replay: replayKind,
  ...consumerKinds,
}

/**
 * Consumes a JetStream stream: many keys in parallel, each in the stream's order, over all members of the group. A lease
 * gives each partition one owner at a time. Each message is acked on its own when it is done. The server sees no nacks.
 */
export function natsConsumer(options: NatsConsumerOptions): Consumer {
  const {
    nc,
    js,
    jsm,
    kv,
    stream,
    group,
    partitions,
    startFrom = 'earliest',
    ahead = 256,
    priority,
    id,
    ackWaitMs = 30_000,
    leaseMs = 6_000,
    shareEveryMs = 500,
    clock = systemClock,
    ...rest
  } = checkOptions(self, options, kinds)
  checkPartitions(partitions)
  requireFit(self, options)
  const names = partitions.map(({ name }) => name)
  const first = priorityOf(self, priority, 'partitions', names)
  const notes = new Set(pipelineNotes(options.pipeline.stages))
  const client = new NatsClient({
    nc,
    js,
    jsm,
    stream,
    group,
    partitions,
    startFrom,
    id,
    maxAckPending: 2 * ahead,
    ackWaitMs,
    leaseMs,
    shareEveryMs,
    member: crypto.randomUUID().slice(0, 8),
    leases: new Leases(kv, group, clock),
    clock,
    random: Math.random,
    note: (said) => void notes.add(said),
  })
  return queueConsumer({
    client,
    group,
    buffer: 2 * ahead,
    ahead,
    clock,
    notes: () => notes,
    ...(first && { priority: first }),
    ...rest,
  })
}

/** Returns the partitions that `bySubject(count)` publishes to: `orders.0`, `orders.1`, … */
export function numberedPartitions(destination: string, partitions: number): readonly NatsPartition[] {
  return Array.from({ length: partitions }, (_, number) => ({
    name: String(number),
    filter: `${destination}.${number}`,
  }))
}

function checkPartitions(partitions: readonly NatsPartition[]): void {
  if (partitions.length === 0) throw badOption(self, 'partitions', 'a list of at least one partition', partitions)
  const names = new Set<string>()
  for (const [at, partition] of partitions.entries()) {
    const { name, filter } = checkOptions(`${self}: partitions[${at}]`, partition, {
      name: required(text),
      filter: required(text),
    })
    if (!natsName.test(name)) throw badOption(self, `partitions[${at}].name`, 'of letters, digits, - and _', name)
    if (names.has(name)) throw badOption(self, `partitions[${at}].name`, 'the only one of its name', name)
    if (/\s/.test(filter)) throw badOption(self, `partitions[${at}].filter`, 'a subject', filter)
    names.add(name)
  }
}
