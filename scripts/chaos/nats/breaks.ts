import type { Patch } from '../brokers/plant.ts'

const file = 'transports/jetstream/partition.ts'
const floor = 'transports/jetstream/acked-floor.ts'

/** Faults planted on purpose, to show that the run would see them. */
export const breaks = {
  'no-idempotency': 'nothing remembers which messages had their effect',
  'early-ack': 'a message is acked when it arrives',
  'ack-what-runs': 'an ack takes in messages before it that still run',
  'holes-ignored': 'what was lost on the way to a member is not missed',
  'delivered-floor': 'a new owner begins behind what was delivered, not behind what was acked',
} as const

export const patches: Readonly<Record<string, Patch | readonly Patch[]>> = {
  'early-ack': {
    file,
    changes: [
      ['raw.ack()\n    this.#lastAcked = raw', 'this.#lastAcked = raw'],
      ['if (this.#isKnown(raw, seq) ||', 'raw.ack(); if (this.#isKnown(raw, seq) ||'],
    ],
  },
  'ack-what-runs': { file, changes: [['this.cumulative = state.keepsAcked', 'this.cumulative = false']] },
  'holes-ignored': {
    file,
    changes: [['delivery > this.#nextDelivery)', 'delivery < 0)']],
  },
  'delivered-floor': [
    { file: floor, changes: [['return info.ack_floor.stream_seq', 'return info.delivered.stream_seq']] },
    { file, changes: [['(info) => info.ack_floor.stream_seq', '(info) => info.delivered.stream_seq']] },
  ],
}
