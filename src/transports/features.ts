import type { Feature, Features } from '../consumer/features.ts'

const yes = (how: string): Feature => ({ has: true, how })
const no = (how: string): Feature => ({ has: false, how })

// Of every log: the group has one position a partition.
const log = {
  queue: yes('yes, by partition'),
  pubsub: yes('yes'),
  delay: yes('kept in the lane'),
  order: yes('of each key'),
  parkingOrder: yes('of each key'),
  deliveryCount: no("none; attempts are the claim's"),
  firstDelivery: yes('once it has handled twice `ahead` messages of a partition'),
  acks: yes('the first that is not done'),
}

export type TransportName = 'memory' | 'kafka' | 'rabbitmq' | 'nats' | 'amqp' | 'pulsar'

/** What each transport can do, in one table. */
export const features: Readonly<Record<TransportName, Features>> = {
  memory: {
    ...log,
    replay: yes('yes, while it is in memory'),
    dedup: no('none'),
    messageId: yes('the place in the log'),
    largestHeader: yes('no limit'),
  },
  kafka: {
    ...log,
    replay: yes('yes, as long as the topic keeps it'),
    dedup: yes('of one producer session (`idempotent`)'),
    acks: yes('an offset: the first that is not done'),
    messageId: yes('topic/partition/offset@timestamp, with a note in `health()`'),
    largestHeader: yes('`max.message.bytes`, with the message'),
  },
  rabbitmq: {
    queue: yes('yes, by queue'),
    pubsub: yes('an exchange, with queues for each group, there before the first message'),
    replay: no('no: what was acked is gone'),
    delay: yes('kept in the lane, at most `consumer_timeout` (30 minutes)'),
    order: yes("of each key; with `order: 'none'` none at all"),
    parkingOrder: yes("of each key; with `order: 'none'` only of what is parked"),
    deliveryCount: yes("the broker's, deaths of consumers included; attempts are the claim's"),
    firstDelivery: yes('what is not flagged as redelivered'),
    dedup: no('none'),
    acks: yes('each message; together where nothing before them is unfinished'),
    messageId: no('none: a random one for each delivery, with a note in `health()`'),
    largestHeader: yes('64 KiB, all headers together'),
  },
  nats: {
    ...log,
    queue: yes('yes, by partition (a subject)'),
    replay: yes('yes, as long as the stream keeps it'),
    dedup: yes('of the stream, by `Nats-Msg-Id`, 2 minutes by default'),
    acks: yes('up to the first that is not done; each by itself on work queues and by interest'),
    messageId: yes('`Nats-Msg-Id`, else the stream, when it was made, and the sequence, with a note in `health()`'),
    largestHeader: yes('64 KiB, all headers together'),
  },
  amqp: {
    queue: yes('yes, by key where the broker has groups'),
    pubsub: yes('shared subscriptions, each there before the first message; Artemis only'),
    replay: no('no: what was accepted is gone'),
    delay: yes('kept in the lane; a lock of the broker bounds it'),
    order: yes('of each key, over all members where the broker has groups'),
    parkingOrder: yes('of each key where the broker has groups, or one member reads; else only of what is parked'),
    deliveryCount: yes("`delivery-count`, deaths of consumers included; attempts are the claim's"),
    firstDelivery: no('none: a link that detaches is not counted'),
    dedup: yes('Artemis, by id, of the last 20,000 of an address, if asked for'),
    acks: yes('each message by itself'),
    messageId: no('none: a random one for each delivery, with a note in `health()`'),
    largestHeader: yes('no limit of its own, with the message'),
  },
  pulsar: {
    queue: yes('yes, by key (`Key_Shared`)'),
    pubsub: yes('yes, by subscription'),
    replay: yes('yes, as long as the retention of the topic keeps it'),
    delay: yes('kept in the lane'),
    order: yes("of each key; with `type: 'Shared'` none over members"),
    parkingOrder: yes("of each key; with `type: 'Shared'` only of what is parked"),
    deliveryCount: yes("`redelivery_count`, nacks alone; attempts are the claim's"),
    firstDelivery: no('none: deaths are not counted'),
    dedup: yes('of an outbox by its numbers, else of one process, where the broker deduplicates'),
    acks: yes('each message by itself; a batch when all of it is done'),
    messageId: yes('topic/ledger/entry, and the index in a batch, with a note in `health()`'),
    largestHeader: yes('no limit of its own, with the message'),
  },
}
