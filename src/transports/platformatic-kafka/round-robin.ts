import {
  decodeConsumerProtocolAssignment,
  decodeConsumerProtocolSubscription,
  encodeConsumerProtocolAssignment,
  encodeConsumerProtocolSubscription,
} from '@platformatic/kafka'
import type { Place } from './coordinator.ts'

/** Both names mean the same here. The first is that of kafkajs, so that members of both clients can form one group. */
export const assignorNames = ['RoundRobinAssigner', 'roundrobin'] as const

export interface GroupMember {
  readonly memberId: string
  readonly metadata: Buffer
}

export function encodeSubscription(topics: readonly string[]): Buffer {
  return encodeConsumerProtocolSubscription({
    version: 1,
    topics: [...topics],
    userData: Buffer.alloc(0),
    ownedPartitions: [],
  })
}

export function decodeAssignment(bytes: Buffer): readonly Place[] {
  return decodeConsumerProtocolAssignment(bytes).assignedPartitions.flatMap(({ topic, partitions }) =>
    partitions.map((partition) => ({ topic, partition })),
  )
}

/** The topics that any member reads. */
export function topicsOf(members: readonly GroupMember[]): readonly string[] {
  return [...new Set(members.flatMap(({ metadata }) => decodeConsumerProtocolSubscription(metadata).topics))].sort()
}

/** Deals the partitions of every topic to the members that read it, one after the other. */
export function deal(
  members: readonly GroupMember[],
  partitionsOf: (topic: string) => number,
): readonly { readonly memberId: string; readonly assignment: Buffer }[] {
  const readers = members
    .map(({ memberId, metadata }) => ({
      memberId,
      topics: new Set(decodeConsumerProtocolSubscription(metadata).topics),
      share: new Map<string, number[]>(),
    }))
    .sort((one, other) => (one.memberId < other.memberId ? -1 : 1))
  let turn = 0
  for (const topic of topicsOf(members)) {
    const interested = readers.filter(({ topics }) => topics.has(topic))
    for (let partition = 0; partition < partitionsOf(topic); partition++) {
      const reader = interested[turn++ % interested.length]
      if (reader !== undefined) reader.share.set(topic, [...(reader.share.get(topic) ?? []), partition])
    }
  }
  return readers.map(({ memberId, share }) => ({
    memberId,
    assignment: encodeConsumerProtocolAssignment({
      version: 0,
      assignedPartitions: [...share].map(([topic, partitions]) => ({ topic, partitions })),
      userData: Buffer.alloc(0),
    }),
  }))
}
