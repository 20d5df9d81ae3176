import type { Patch } from '../brokers/plant.ts'

const file = 'transports/pulsar/topic-link.ts'

/** Faults planted on purpose, to show that the run would see them. */
export const breaks = {
  'no-idempotency': 'nothing remembers which messages had their effect',
  'early-ack': 'a message is acked when it arrives',
  shared: 'the subscription is `Shared`, so that members share the messages of a key',
  'two-owners': 'a lost connection begins two attempts, and nobody misses the messages of the older one',
} as const

export const patches: Readonly<Record<string, Patch>> = {
  'early-ack': {
    file,
    changes: [
      ['ack: ({ entry }) => this.#ack(entry),', 'ack: () => {},'],
      ['(!owned.deliver(record)', '((void this.#ack(record.entry), !owned.deliver(record))'],
    ],
  },
  'two-owners': {
    file,
    changes: [
      ['await attachment.gone', 'await attachment.gone; if (nextConsumerId() < 6) void this.run(signal)'],
      ["this.abandon('a message came", "void ('a message came"],
    ],
  },
}
