import type { JsMsg } from '@nats-io/jetstream'
import { expect, it } from 'vitest'
import { sequencesOf } from '../../../src/transports/jetstream/sequences.ts'

const of = (reply: string) => sequencesOf({ reply } as unknown as JsMsg)
const tail = '1.123456789012.42.1795830000000000000.7'

it('reads both sequences from the subject of the acks, as servers before and since 2.10 write it', () => {
  const wanted = { seq: 123_456_789_012, delivery: 42 }
  expect(of(`$JS.ACK.orders.billing-0-e1.${tail}`)).toEqual(wanted)
  expect(of(`$JS.ACK._.ACCOUNT.orders.billing-0-e1.${tail}`)).toEqual(wanted)
  expect(of(`$JS.ACK.hub.ACCOUNT.orders.billing-0-e1.${tail}.a1b2c3`)).toEqual(wanted)
})

it('asks the client where it shows no such subject', () => {
  expect(sequencesOf({ seq: 5, info: { deliverySequence: 2 } } as JsMsg)).toEqual({ seq: 5, delivery: 2 })
})
