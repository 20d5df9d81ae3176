import { describe, expect, it } from 'vitest'
import type { KafkaMessage } from 'kafkajs'
import { headersFrom } from '../../../src/core/message.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import { deliveryFrom, recordFrom, type MessageId } from '../../../src/transports/kafkajs/codec.ts'
import { neverAborts } from '../../../src/core/signals.ts'

const plain: KafkaMessage = { key: null, value: null, timestamp: '1700000000000', offset: '42', attributes: 0, size: 0 }

function read(message: Partial<KafkaMessage>, id?: MessageId) {
  const record = { topic: 'orders', partition: 3, message: Object.assign({}, plain, message) }
  return deliveryFrom(record, { pipeline: 'billing', group: 'g', attempt: 1, signal: neverAborts, id })
}

describe('the kafkajs codec', () => {
  it('reads id, type and time from the headers that travel', () => {
    const headers = {
      'message-id': Buffer.from('m1'),
      'message-type': Buffer.from('order.placed'),
      'message-time': Buffer.from('5'),
    }
    expect(read({ headers }).message).toMatchObject({ id: 'm1', type: 'order.placed', timeMs: 5 })
  })

  it('reads the CloudEvents names too', () => {
    const headers = {
      ce_id: Buffer.from('c1'),
      ce_type: Buffer.from('t'),
      ce_time: Buffer.from('2024-01-01T00:00:00Z'),
    }
    expect(read({ headers }).message).toMatchObject({ id: 'c1', type: 't', timeMs: Date.UTC(2024, 0, 1) })
  })

  it('I-32: falls back to the position for the id, the topic for the type and the record for the time', () => {
    expect(read({}).message).toMatchObject({
      id: 'orders/3/42@1700000000000',
      type: 'orders',
      timeMs: 1_700_000_000_000,
    })
  })

  it('takes the id from wherever the service says it is', () => {
    const id: MessageId = ({ message }) => message.value?.toString() ?? ''
    expect(read({ value: Buffer.from('from-the-body') }, id).message.id).toBe('from-the-body')
    expect(read({ value: null }, id).message.id).toBe('orders/3/42@1700000000000')
  })

  it('I-32: a message of a topic that was made anew has another id than the old one at its offset', () => {
    const [old, anew] = [read({}), read({ timestamp: '1700000009999' })]
    expect(anew.message.id).not.toBe(old.message.id)
    expect(read({}).message.id).toBe(old.message.id)
  })

  it('nacks where the id function throws, and names the message', () => {
    const id: MessageId = ({ message }) => (JSON.parse(message.value?.toString() ?? '') as { id: string }).id
    expect(read({ value: Buffer.from('{"id":"m1"}') }, id).message.id).toBe('m1')
    expect(() => read({ value: Buffer.from('not json') }, id)).toThrow('the id function threw for orders/3/42')
  })

  it('sends a message on with the id, type and time headers that it came with, byte for byte', () => {
    const headers = {
      'message-id': [Buffer.from('m1'), Buffer.from('m0')],
      'message-type': Buffer.from('order.placed'),
      'message-time': Buffer.from('9999999999999999'),
    }
    expect(recordFrom(read({ headers }).message).headers).toEqual({
      'message-id': ['m1', 'm0'],
      'message-type': 'order.placed',
      'message-time': '9999999999999999',
    })
  })

  it('keeps tombstones, missing keys and empty keys apart', () => {
    expect(read({})).toMatchObject({ bytes: null, message: { body: null, key: null } })
    expect(read({ key: Buffer.alloc(0) }).message.key).toBe('')
  })

  it('K-15: gives equal bytes equal keys and other bytes other keys', () => {
    const key = (...bytes: number[]) => read({ key: Buffer.from(bytes) }).message.key
    expect(key(0xff, 0xfe)).toBe(key(0xff, 0xfe))
    expect(key(0xff, 0xfe)).not.toBe(key(0xff, 0xfd))
  })

  it('keeps repeats, and bytes that are not text', () => {
    const headers = { many: [Buffer.from('a'), Buffer.from('b')], raw: Buffer.from([0xff]) }
    const read1 = read({ headers }).message.headers
    expect(read1['many']).toEqual(['a', 'b'])
    expect(read1['raw']).toEqual(Buffer.from([0xff]))
  })

  it('takes hostile header names as data, and drops what kafkajs finds on every object', () => {
    const hostile = JSON.parse('{"__proto__": "x"}') as Record<string, string>
    const headers = { ...hostile, constructor: [Object as unknown as string, Buffer.from('y')] }
    Object.defineProperty(headers, '__proto__', { value: Buffer.from('x'), enumerable: true })
    const got = read({ headers }).message.headers
    expect(Object.getPrototypeOf(got)).toBeNull()
    expect(got['__proto__']).toBe('x')
    expect(got['constructor']).toBe('y')
    expect(({} as Record<string, unknown>)['x']).toBeUndefined()
  })

  it('writes what it reads', () => {
    const body = new Uint8Array([1, 2, 255])
    const message = outgoing({
      destination: 'orders',
      id: 'm1',
      type: 'placed',
      key: 'k',
      timeMs: 7,
      body,
      headers: headersFrom([
        ['many', ['a', 'b']],
        ['raw', new Uint8Array([0xff])],
      ]),
    })
    const { key, value, headers } = recordFrom(message)
    const back = read({ key: key as Buffer, value: value as Buffer, headers: headers ?? {} }).message
    expect(back).toMatchObject({ id: 'm1', type: 'placed', key: 'k', timeMs: 7 })
    expect([...(back.body ?? [])]).toEqual([...body])
    expect(back.headers['many']).toEqual(['a', 'b'])
    expect(recordFrom(outgoing({ destination: 'orders', body: null }))).toMatchObject({ key: null, value: null })
  })
})
