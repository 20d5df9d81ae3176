import type { Patch } from '../brokers/plant.ts'

/** Faults planted on purpose, to show that the run would see them. */
export const breaks = {
  'no-idempotency': 'nothing remembers which messages had their effect',
  'early-ack': 'a message is acked when it arrives',
  shared: 'the subscription is `Shared`, so that members share the messages of a key',
  'allows-disorder': 'a key moves to a member that joins while the member before still has messages of it',
} as const

export const patches: Readonly<Record<string, Patch>> = {
  'early-ack': {
    file: 'transports/pulsar/attachment.ts',
    changes: [
      ['ack: ({ entry }) => this.#ack(entry),', 'ack: () => {},'],
      ['(!owned.deliver(record)', '((void this.#ack(record.entry), !owned.deliver(record))'],
    ],
  },
  'allows-disorder': {
    file: 'transports/pulsar/topic-link.ts',
    changes: [['allowsDisorder: false', 'allowsDisorder: true']],
  },
}
