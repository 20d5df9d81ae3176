import fc from 'fast-check'
import rhea from 'rhea'
import { describe, expect, it } from 'vitest'
import { headersFrom } from '../../../src/core/message.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import { bytesOfMessage, recordFrom, type AmqpRaw } from '../../../src/transports/amqp/codec.ts'
import type { AmqpMessage } from '../../../src/transports/amqp/rhea-client.ts'

const { message: codec } = rhea as unknown as {
  readonly message: {
    encode(message: object): Buffer
    decode(bytes: Buffer): AmqpMessage
    data_section(data: Buffer): unknown
    data_sections(data: readonly Buffer[]): unknown
    sequence_section(list: readonly unknown[]): unknown
  }
}

function read(message: object, id?: (message: AmqpMessage) => string | undefined) {
  const decoded = codec.decode(codec.encode(message))
  return recordFrom({ message: decoded, delivery: {} } as unknown as AmqpRaw, 'orders', id)
}

function sent(parts: Partial<Parameters<typeof outgoing>[0]>, duplicateIds = false): AmqpMessage {
  const message = outgoing({ destination: 'orders', body: null, ...parts } as Parameters<typeof outgoing<null>>[0])
  return codec.decode(bytesOfMessage(message, { codec, duplicateIds }))
}

describe('messages over AMQP 1.0', () => {
  it('A-4: every message is durable', () => {
    expect(sent({ id: 'm' })).toMatchObject({ durable: true })
  })

  it('A-13: an empty key is no group', () => {
    const message = sent({ id: 'm', key: '' })
    expect(message.group_id).toBeUndefined()
    expect(recordFrom({ message, delivery: {} } as unknown as AmqpRaw, 'orders', undefined).message.key).toBe('')
    expect(sent({ id: 'm', key: 'k' }).group_id).toBe('k')
  })

  it('carries a header that is called like one of its own', () => {
    const headers = headersFrom([
      ['holdfast-headers', 'mine'],
      ['holdfast-empty-key', Buffer.from([0xff])],
      ['__proto__', ['a', Buffer.from([0xfe])]],
    ])
    const message = sent({ id: 'm', key: 'k', headers })
    const got = recordFrom({ message, delivery: {} } as unknown as AmqpRaw, 'orders', undefined).message
    expect(got.key).toBe('k')
    expect(Object.entries(got.headers).toSorted()).toEqual(Object.entries(headers).toSorted())
  })

  it.each([
    ['a text', 'text', 'text'],
    ['a number', 5, '5'],
    ['a list', ['a', 1], '["a",1]'],
    ['several data sections', codec.data_sections([Buffer.from('a'), Buffer.from('b')]), 'ab'],
    ['a sequence', codec.sequence_section(['a', 1]), '["a",1]'],
    ['an empty data section', codec.data_section(Buffer.alloc(0)), ''],
  ])('reads a body that is %s', (_, body, wanted) => {
    const { message } = read({ message_id: 'm', body })
    expect(message.body && Buffer.from(message.body).toString()).toBe(wanted)
  })

  it('reads a null value as a tombstone', () => {
    expect(read({ message_id: 'm', body: null }).message.body).toBeNull()
  })

  it.each([
    [17, '17'],
    ['text', 'text'],
    [rhea.types.wrap_uuid(Buffer.alloc(16, 1)), '01'.repeat(16)],
    [rhea.types.wrap_binary(Buffer.from([0xab, 0xcd])), 'abcd'],
  ])('takes the message-id %s as text', (id, wanted) => {
    expect(read({ message_id: id, body: 'x' }).message.id).toBe(wanted)
  })

  it('has a random id where the producer gave none, and says so', () => {
    const one = read({ body: 'x' })
    expect(one.isAnonymous).toBe(true)
    expect(one.message.id).not.toBe(read({ body: 'x' }).message.id)
    expect(read({ body: 'x', application_properties: { 'message-id': 'own' } })).toMatchObject({
      isAnonymous: false,
      message: { id: 'own' },
    })
  })

  it('keeps what the id function threw, instead of a wrong id', () => {
    const record = read({ message_id: 'm', body: 'x' }, () => {
      throw new Error('away')
    })
    expect(record.idError).toMatchObject({ code: 'bad-option' })
  })

  it('A-7: never throws, whatever a message holds', () => {
    const anything = fc.anything({ withBigInt: true, withDate: true, withNullPrototype: true, withTypedArray: true })
    fc.assert(
      fc.property(
        fc.record({}, { requiredKeys: [] }),
        fc.dictionary(fc.string(), anything),
        anything,
        (_, some, odd) => {
          const message = {
            ...{ message_id: odd, subject: odd, group_id: odd, creation_time: odd, body: odd },
            application_properties: { ...some, 'holdfast-headers': String(JSON.stringify(odd, replaced)), x: odd },
          }
          recordFrom({ message, delivery: {} } as unknown as AmqpRaw, 'orders', undefined)
        },
      ),
      { numRuns: 500 },
    )
  })
})

function replaced(_: string, value: unknown): unknown {
  return typeof value === 'bigint' ? String(value) : value
}
