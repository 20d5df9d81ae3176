import type { Patch } from '../brokers/plant.ts'

/** Faults planted on purpose, to show that the run would see them. */
export const breaks = {
  'no-single-active': 'the queues have no single active consumer, and nobody checks them',
  'no-idempotency': 'nothing remembers which messages had their effect',
  'early-ack': 'a message is acked when it arrives',
  'ack-what-runs': 'an ack of several messages takes in those that still run',
} as const

export const patches: Readonly<Record<string, Patch>> = {
  'early-ack': {
    file: 'transports/rabbitmq/queue-holder.ts',
    changes: [
      ['ack: ({ raw }) => channel.ack(raw),', 'ack: () => {},'],
      ['ackUpTo: ({ raw }) => channel.ack(raw, true),', ''],
      ['owned.deliver(record)', 'channel.ack(raw); owned.deliver(record)'],
    ],
  },
  'ack-what-runs': {
    file: 'transports/rabbitmq/queue-holder.ts',
    changes: [['ack: ({ raw }) => channel.ack(raw),', 'ack: ({ raw }) => channel.ack(raw, true),']],
  },
}
