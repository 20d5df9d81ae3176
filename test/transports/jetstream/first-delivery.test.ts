import type { JsMsg } from '@nats-io/jetstream'
import { expect, it } from 'vitest'
import type { QueueHost, QueueSession } from '../../../src/consumer/queue/queue-client.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { Leases, type LeaseBucket } from '../../../src/transports/jetstream/leases.ts'
import { Partition, type PartitionSettings } from '../../../src/transports/jetstream/partition.ts'
import type { NatsRecord } from '../../../src/transports/jetstream/record.ts'

/** A claimed partition whose deliveries are ours to send. */
async function claimed(retention = 'limits') {
  const told: string[] = []
  const made: object[] = []
  const records: NatsRecord[] = []
  let session: QueueSession<NatsRecord> | undefined
  const owned = { source: '0', isOver: false, isLeaving: false, isActive: false }
  const host: Pick<QueueHost<NatsRecord>, 'own' | 'report'> = {
    report: () => {},
    own: (_, given) => ({
      ...owned,
      get isOver() {
        return told.some((each) => each.startsWith('lost'))
      },
      deliver(record) {
        session = given
        records.push(record)
        return told.push(`delivered ${record.seq}`) > 0
      },
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
          config: { retention },
          state: { first_seq: 1, last_seq: 9 },
          created: '2026-01-01',
        }),
      },
      consumers: { add: async (_: string, config: object) => void made.push(config), delete: async () => {} },
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
    receive({
      ...{ seq, subject: 's.0', data: new Uint8Array(), time: new Date() },
      info: { deliverySequence },
      ack: () => void told.push(`acked ${seq}`),
    } as JsMsg)
  const ack = (seq: number): void => {
    for (const record of records) if (record.seq === seq) void session?.ack(record)
  }
  return { told, made, deliver, ack, cumulative: () => session?.cumulative }
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

it('with cumulative acks, passes over what is in memory, and acks again what was acked before', async () => {
  const { told, made, deliver, ack, cumulative } = await claimed()
  for (const seq of [1, 2, 3]) deliver(seq, seq)
  expect(made).toMatchObject([{ ack_policy: 'all' }])
  expect(cumulative()).toBe(true)
  ack(2)
  told.length = 0
  // Its ack was lost on the way, and that of the one after it is not due.
  deliver(4, 1)
  deliver(5, 3)
  deliver(6, 4)
  expect(told).toEqual(['acked 1', 'delivered 4'])
})

it.each(['workqueue', 'interest'])('acks each message of a stream of kind %s by itself', async (retention) => {
  const { told, made, deliver, ack, cumulative } = await claimed(retention)
  deliver(1, 1)
  deliver(2, 1)
  expect(made).toMatchObject([{ ack_policy: 'explicit' }])
  expect(cumulative()).toBe(false)
  ack(1)
  deliver(3, 1)
  expect(told).toEqual(['delivered 1', 'acked 1', 'delivered 1'])
})
