import type { Patch } from '../brokers/plant.ts'

const link = 'transports/amqp/source-link.ts'
const consumer = 'transports/amqp/consumer.ts'
const codec = 'transports/amqp/codec.ts'

/** Faults planted on purpose, to show that the run would see them. */
export const breaks = {
  'no-groups': 'messages carry no group-id, so that members share the messages of a key',
  'no-idempotency': 'nothing remembers which messages had their effect',
  'early-ack': 'a message is accepted when it arrives',
  'modified-on-nack': 'a message that failed is given back to the broker at once',
} as const

export const patches: Readonly<Record<string, Patch | readonly Patch[]>> = {
  'no-groups': {
    file: codec,
    changes: [
      ['{ group_id: key }', '{ reply_to_group_id: key }'],
      ['textIn(message.group_id)', 'textIn(message.reply_to_group_id)'],
    ],
  },
  'early-ack': {
    file: link,
    changes: [
      ['if (condition === undefined) return raw.delivery.accept()', 'if (condition === undefined) return'],
      ['owned.deliver(record)', 'delivery.accept(); owned.deliver(record)'],
    ],
  },
  'modified-on-nack': [
    {
      file: consumer,
      changes: [
        ["reject = 'hold',", "reject = 'broker',"],
        ['!isPermanent(error) || !isRaw(delivery.raw)', '!isRaw(delivery.raw)'],
      ],
    },
    {
      file: link,
      changes: [
        ['return nextTurn().then(', 'return void raw.delivery.modified({ delivery_failed: true }); nextTurn().then('],
      ],
    },
  ],
}
