/** A bug for one adapter, which its contract has to find. */
export interface Mutant {
  /** What a reader would call the bug. */
  readonly bug: string
  /** Below `src/transports/`. */
  readonly file: string
  readonly changes: readonly (readonly [from: string, to: string])[]
}

export interface Adapter {
  /** Below `test/transports/`, by the contract that they run. */
  readonly suites: Readonly<Record<'transport' | 'publisher', string>>
  readonly transport: Readonly<Record<string, Mutant>>
  readonly publisher: Readonly<Record<string, Mutant>>
}

const suitesOf = (room: string): Adapter['suites'] => ({
  transport: `${room}/contract.int.test.ts`,
  publisher: `${room}/publisher-contract.int.test.ts`,
})

const resolvesWhenSent = 'it resolves when everything is sent, not when it is confirmed'
const outageIsRefusal = 'an outage is taken for a refusal'
const refusalIsOutage = 'a message that is too large is taken for an outage'
const acksOnArrival = 'a message is acked when it arrives'
const acksWhatRuns = 'an ack takes in messages before it that still run'
const skipsOne = 'the first message behind each fetch is skipped'
const noKey = 'the key of a message is not read'
const noBackPressure = 'nothing bounds what is in memory'
const keepsShare = 'a member hands nothing on to one that joins'
const staysAway = 'after a cut connection it does not come back'

const rabbitmq: Adapter = {
  suites: suitesOf('rabbitmq'),
  transport: {
    'acks-on-arrival': {
      bug: acksOnArrival,
      file: 'rabbitmq/queue-holder.ts',
      changes: [
        ['ack: ({ raw }) => channel.ack(raw),', 'ack: () => {},'],
        ['ackUpTo: ({ raw }) => channel.ack(raw, true),', ''],
        ['owned.deliver(record)', 'channel.ack(raw); owned.deliver(record)'],
      ],
    },
    'acks-what-runs': {
      bug: acksWhatRuns,
      file: 'rabbitmq/queue-holder.ts',
      changes: [['ack: ({ raw }) => channel.ack(raw),', 'ack: ({ raw }) => channel.ack(raw, true),']],
    },
    'leaves-without-flush': {
      bug: 'the channel is closed while acks are on their way',
      file: 'rabbitmq/queue-holder.ts',
      changes: [['await within(clock, flushMs, flush())', '']],
    },
    'no-prefetch': {
      bug: noBackPressure,
      file: 'rabbitmq/queue-holder.ts',
      changes: [['await channel.prefetch(prefetch)', '']],
    },
    'no-key': { bug: noKey, file: 'rabbitmq/client.ts', changes: [['return message.key', 'return null']] },
    'no-tombstone': {
      bug: 'a tombstone is an empty body',
      file: 'rabbitmq/codec.ts',
      changes: [['body: isTombstone ? null : content,', 'body: content,']],
    },
    'stays-away': {
      bug: staysAway,
      file: 'rabbitmq/queue-holder.ts',
      changes: [['await ended\n', 'await ended; return\n']],
    },
    'keeps-share': {
      bug: keepsShare,
      file: 'rabbitmq/fair-share.ts',
      changes: [['if (mine.length <=', 'if (true || mine.length <=']],
    },
  },
  publisher: {
    'resolves-when-sent': {
      bug: resolvesWhenSent,
      file: 'rabbitmq/publisher.ts',
      changes: [['await Promise.all(confirmed)', '']],
    },
    'not-mandatory': {
      bug: 'what no queue takes counts as published',
      file: 'rabbitmq/publisher.ts',
      changes: [['mandatory: true', 'mandatory: false']],
    },
    'outage-is-refusal': {
      bug: outageIsRefusal,
      file: 'rabbitmq/publisher.ts',
      changes: [["error.blames : 'nobody'", "error.blames : 'message'"]],
    },
    'no-key': {
      bug: 'the key of a message is not sent',
      file: 'rabbitmq/codec.ts',
      changes: [['if (key !== null) table[keyHeader] = key', '']],
    },
  },
}

const nats: Adapter = {
  suites: suitesOf('jetstream'),
  transport: {
    'acks-on-arrival': {
      bug: acksOnArrival,
      file: 'jetstream/partition.ts',
      changes: [
        ['raw.ack()\n    this.#lastAcked = raw', 'this.#lastAcked = raw'],
        ['if (this.#isKnown(raw, seq) ||', 'raw.ack(); if (this.#isKnown(raw, seq) ||'],
      ],
    },
    'acks-what-runs': {
      bug: acksWhatRuns,
      file: 'jetstream/partition.ts',
      changes: [['this.cumulative = state.keepsAcked', 'this.cumulative = false']],
    },
    'holes-ignored': {
      bug: 'what was lost on the way is not missed',
      file: 'jetstream/partition.ts',
      changes: [['delivery > this.#nextDelivery)', 'delivery < 0)']],
    },
    'delivered-floor': {
      bug: 'a new owner begins behind what was delivered',
      file: 'jetstream/acked-floor.ts',
      changes: [['return info.ack_floor.stream_seq', 'return info.delivered.stream_seq']],
    },
    'takes-what-is-held': {
      bug: "a partition is claimed while another member's lease lasts",
      file: 'jetstream/partition.ts',
      changes: [['if (isHeld && leases.stillMs(this.name, revision) < leaseMs) return false', '']],
    },
    'no-max-pending': {
      bug: noBackPressure,
      file: 'jetstream/partition.ts',
      changes: [
        ['max_ack_pending: maxAckPending,', 'max_ack_pending: 100_000,'],
        ['max_messages: Math.min(maxAckPending, 1_000),', 'max_messages: 100_000,'],
      ],
    },
    'no-key': { bug: noKey, file: 'jetstream/client.ts', changes: [['return message.key', 'return null']] },
    'no-tombstone': {
      bug: 'a tombstone is an empty body',
      file: 'jetstream/codec.ts',
      changes: [['body: isTombstone ? null : raw.data,', 'body: raw.data,']],
    },
    'stays-away': {
      bug: staysAway,
      file: 'jetstream/partition.ts',
      changes: [['return owned === undefined || owned.isOver ? undefined : owned', 'return owned']],
    },
    'keeps-share': {
      bug: keepsShare,
      file: 'jetstream/client.ts',
      changes: [['if (owned.length > share) {', 'if (owned.length > 1_000) {']],
    },
  },
  publisher: {
    'resolves-when-sent': {
      bug: resolvesWhenSent,
      file: 'jetstream/publisher.ts',
      changes: [['await js.publish(to,', 'void js.publish(to,']],
    },
    'one-id-for-all': {
      bug: 'messages of a subject share the id by which the server drops duplicates',
      file: 'jetstream/publisher.ts',
      changes: [['msgID: dedupe(message, to)', 'msgID: to']],
    },
    'outage-is-refusal': {
      bug: outageIsRefusal,
      file: 'jetstream/publisher.ts',
      changes: [['return code === undefined ? undefined : false', 'return code === undefined']],
    },
    'refusal-is-outage': {
      bug: refusalIsOutage,
      file: 'jetstream/publisher.ts',
      changes: [
        ['if (code !== undefined && refusedForGood.has(code)) return true', ''],
        ['if (/max(imum)?[ _]payload|payload max/i.test(reasonOf(error))) return true', ''],
      ],
    },
    'no-key': {
      bug: 'the key of a message is not sent',
      file: 'jetstream/codec.ts',
      changes: [['if (key !== null) written.set(keyHeader, valueOut(key))', '']],
    },
  },
}

const platformatic: Adapter = {
  suites: suitesOf('platformatic-kafka'),
  transport: {
    'joins-at-once': {
      bug: 'a member joins again while its handlers run',
      file: 'platformatic-kafka/classic-group.ts',
      changes: [["await host.finish('join', [])", '']],
    },
    'gives-up-at-once': {
      bug: 'with the consumer protocol, partitions are given up while their handlers run',
      file: 'platformatic-kafka/consumer-group.ts',
      changes: [["if (revoked.size > 0) await host.finish('revoke', placesOf(revoked, names))", '']],
    },
    'commits-one-more': {
      bug: 'the first message that is not done is committed too',
      file: 'platformatic-kafka/coordinator.ts',
      changes: [['committedOffset: BigInt(position),', 'committedOffset: BigInt(position + 1),']],
    },
    'begins-anew': {
      bug: 'what the group committed is not asked for',
      file: 'platformatic-kafka/client.ts',
      changes: [
        [
          'offset: committed.get(placeId(place.topic, place.partition)) ?? (await this.#start(place)),',
          'offset: await this.#start(place),',
        ],
      ],
    },
    'never-pauses': {
      bug: noBackPressure,
      file: 'platformatic-kafka/fetcher.ts',
      changes: [["cursor.paused = accepted !== 'taken'", "cursor.paused = accepted === 'refused'"]],
    },
    'skips-one': {
      bug: skipsOne,
      file: 'platformatic-kafka/fetcher.ts',
      changes: [['cursor.offset = piece.last + 1', 'cursor.offset = piece.last + 2']],
    },
    'no-key': {
      bug: noKey,
      file: 'platformatic-kafka/client.ts',
      changes: [['keyOf: (record) => keyFromBytes(record.key),', 'keyOf: () => null,']],
    },
    'stays-away': {
      bug: 'a member whose generation has ended does not join again',
      file: 'platformatic-kafka/classic-group.ts',
      changes: [['this.#leaveGeneration(error, id)\n        this.#joinAgain()', 'this.#leaveGeneration(error, id)']],
    },
  },
  publisher: {
    'resolves-when-sent': {
      bug: resolvesWhenSent,
      file: 'platformatic-kafka/publisher.ts',
      changes: [['await producer.send({', 'void producer.send({']],
    },
    'outage-is-refusal': {
      bug: outageIsRefusal,
      file: 'platformatic-kafka/publisher.ts',
      changes: [["return 'nobody'", "return 'message'"]],
    },
    'refusal-is-outage': {
      bug: refusalIsOutage,
      file: 'platformatic-kafka/publisher.ts',
      changes: [["if (id !== undefined && badMessage.has(id)) return 'message'", '']],
    },
  },
}

const kafkajs: Adapter = {
  suites: suitesOf('kafkajs'),
  transport: {
    'joins-at-once': {
      bug: 'a member joins again while its handlers run',
      file: 'kafkajs/managed-membership.ts',
      changes: [["await this.#ownership?.generation.finish('join')", '']],
    },
    'commits-one-more': {
      bug: 'the first message that is not done is committed too',
      file: 'kafkajs/managed-membership.ts',
      changes: [
        ['({ topic, partition, offset: String(position) }))', '({ topic, partition, offset: String(position + 1) }))'],
      ],
    },
    'never-pauses': {
      bug: noBackPressure,
      file: 'kafkajs/managed-membership.ts',
      changes: [["if (accepted === 'full') await this.#roomIn(read)", '']],
    },
    'skips-one': {
      bug: skipsOne,
      file: 'kafkajs/managed-membership.ts',
      changes: [
        ['payload.resolveOffset(batch.lastOffset())', 'payload.resolveOffset(`${Number(batch.lastOffset()) + 1}`)'],
      ],
    },
    'no-key': {
      bug: noKey,
      file: 'kafkajs/client.ts',
      changes: [['keyOf: (message) => keyFromBytes(message.key),', 'keyOf: () => null,']],
    },
  },
  publisher: {
    'resolves-when-sent': {
      bug: resolvesWhenSent,
      file: 'kafkajs/send-batch.ts',
      changes: [['await producer.sendBatch(batch)', 'void producer.sendBatch(batch)']],
    },
    'outage-is-refusal': {
      bug: outageIsRefusal,
      file: 'kafkajs/kafka-errors.ts',
      changes: [["if (type === undefined) return 'nobody'", "if (type === undefined) return 'message'"]],
    },
    'refusal-is-outage': {
      bug: refusalIsOutage,
      file: 'kafkajs/kafka-errors.ts',
      changes: [["return badMessage.has(type) ? 'message' : 'nobody'", "return 'nobody'"]],
    },
  },
}

/** By the names that `npm run mutants` takes. */
export const adapters: Readonly<Record<string, Adapter>> = { kafkajs, platformatic, rabbitmq, nats }
