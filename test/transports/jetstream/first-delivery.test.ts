import type { JsMsg } from '@nats-io/jetstream'
import { expect, it } from 'vitest'
import type { QueueHost } from '../../../src/consumer/queue/queue-client.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { Leases, type LeaseBucket } from '../../../src/transports/jetstream/leases.ts'
import { Partition, type PartitionSettings } from '../../../src/transports/jetstream/partition.ts'
import type { NatsRecord } from '../../../src/transports/jetstream/record.ts'

/** A claimed partition whose deliveries are ours to send. */
async function claimed() {
  const told: string[] = []
  const owned = { source: '0', isOver: false, isLeaving: false, isActive: false }
  const host: Pick<QueueHost<NatsRecord>, 'own' | 'report'> = {
    report: () => {},
    own: () => ({
      ...owned,
      get isOver() {
        return told.some((each) => each.startsWith('lost'))
      },
      deliver: ({ raw }) => told.push(`delivered ${raw.seq}`) > 0,
      lost: (error) => void told.push(`lost: ${error.message}`),
      handOver: () => Promise.resolve(),
    }),
  }
  let receive = (_: JsMsg): void => {}
  const messages = { stop() {}, closed: () => new Promise(() => {}), async *status() {} }
  const kv = { get: async () => null, create: async () => 1, update: async () => 2 }
  const settings = {
    jsm: {
      streams: {
        info: async () => ({
          config: { retention: 'limits' },
          state: { first_seq: 1, last_seq: 9 },
          created: '2026-01-01',
        }),
      },
      consumers: { add: async () => {}, delete: async () => {} },
    },
    js: {
      consumers: {
        get: async () => ({
          async consume({ callback }: { callback: (raw: JsMsg) => void }) {
            receive = callback
            return messages
          },
        }),
      },
    },
    leases: new Leases(kv as unknown as LeaseBucket, 'g', systemClock),
    clock: { ...systemClock, after: () => () => {} },
    stream: 's',
    group: 'g',
    member: 'm',
    startFrom: 'earliest',
    leaseMs: 1000,
    maxAckPending: 10,
    note: () => {},
  } as unknown as PartitionSettings
  await new Partition({ name: '0', filter: 's.0' }, settings, host as QueueHost<NatsRecord>).claim()
  const deliver = (deliverySequence: number, seq: number): void =>
    receive({ seq, subject: 's.0', data: new Uint8Array(), time: new Date(), info: { deliverySequence } } as JsMsg)
  return { told, deliver }
}

it('N-21: a first delivery that is lost on the way ends the ownership, and nothing behind it is handled', async () => {
  const { told, deliver } = await claimed()
  deliver(2, 2)
  expect(told).toEqual(['lost: partition 0: deliveries 1 to 1 were lost on the way'])
})

it('takes deliveries that begin at 1', async () => {
  const { told, deliver } = await claimed()
  deliver(1, 4)
  deliver(2, 5)
  expect(told).toEqual(['delivered 4', 'delivered 5'])
})
