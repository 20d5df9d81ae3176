import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  bytesOfKey,
  firstHeader,
  headersFrom,
  headerText,
  keyFromBytes,
  wireHeaders,
  wireNames,
  withHeaders,
} from '../../src/core/message.ts'

const bytes = fc.uint8Array({ maxLength: 30 }).map((array) => Buffer.from(array))

describe('keys', () => {
  it('come back byte for byte', () => {
    fc.assert(
      fc.property(
        fc.oneof(
          bytes,
          fc.string({ unit: 'grapheme' }).map((text) => Buffer.from(text)),
        ),
        (key) => {
          expect(bytesOfKey(keyFromBytes(key) ?? expect.fail('no key'))).toEqual(key)
        },
      ),
    )
  })

  it('K-15: two keys are the same text exactly when they are the same bytes', () => {
    const lookalikes = [
      Buffer.from('base64:AQ=='),
      Buffer.from([1]),
      Buffer.from([0xff]),
      Buffer.from('base64:/w=='),
      Buffer.from('\ufeffa'),
      Buffer.from('a'),
      Buffer.from('\ufffd'),
      Buffer.from([0xc0, 0x80]),
      Buffer.from([0]),
      Buffer.alloc(0),
    ]
    const expectSame = (a: Buffer, b: Buffer): void => {
      expect(keyFromBytes(a) === keyFromBytes(b)).toBe(a.equals(b))
    }
    for (const a of lookalikes) for (const b of lookalikes) expectSame(a, b)
    fc.assert(fc.property(bytes, bytes, expectSame))
  })

  it('are readable where they are text, and none where there are none', () => {
    expect(keyFromBytes(Buffer.from('customer-42'))).toBe('customer-42')
    expect(keyFromBytes(Buffer.alloc(0))).toBe('')
    expect(keyFromBytes(null)).toBe(null)
    expect(keyFromBytes(undefined)).toBe(null)
  })
})

describe('headers', () => {
  it('are text where the bytes are UTF-8, and bytes where they are not', () => {
    const headers = headersFrom([
      ['text', Buffer.from('größe')],
      ['binary', Buffer.from([0xff, 0xfe])],
      ['repeated', [Buffer.from('a'), Buffer.from([0xff]), 'c']],
    ])
    expect({ ...headers }).toEqual({
      text: 'größe',
      binary: Buffer.from([0xff, 0xfe]),
      repeated: ['a', Buffer.from([0xff]), 'c'],
    })
  })

  it('X: have no prototype, and take hostile names as ordinary ones', () => {
    const hostile = ['__proto__', 'constructor', 'prototype', 'hasOwnProperty', 'toString']
    const headers = headersFrom(hostile.map((name) => [name, `value of ${name}`]))
    expect(Object.getPrototypeOf(headers)).toBe(null)
    for (const name of hostile) expect(headerText(headers, name)).toBe(`value of ${name}`)
    expect('value of __proto__' in {}).toBe(false)
    const copy = withHeaders(headers, { more: 'x' })
    expect(Object.getPrototypeOf(copy)).toBe(null)
    expect(Object.keys(copy)).toEqual([...hostile, 'more'])
    expect(headerText(headersFrom([]), 'toString')).toBe(undefined)
    expect(headerText({}, 'constructor')).toBe(undefined)
  })

  it('are copied, never changed', () => {
    const headers = headersFrom([['a', '1']])
    expect({ ...withHeaders(headers, { a: '2' }) }).toEqual({ a: '2' })
    expect({ ...headers }).toEqual({ a: '1' })
  })

  it('headerText() gives the first value, where it is text', () => {
    const headers = headersFrom([
      ['one', 'a'],
      ['more', ['b', 'c']],
      ['binary', Buffer.from([0xff])],
      ['none', []],
    ])
    expect(['one', 'more', 'binary', 'none', 'missing'].map((name) => headerText(headers, name))).toEqual([
      'a',
      'b',
      undefined,
      undefined,
      undefined,
    ])
  })

  it('firstHeader() takes the first name that says something', () => {
    const headers = headersFrom([
      ['message-id', ''],
      ['ce_id', 'from CloudEvents'],
    ])
    expect(firstHeader(headers, wireNames.id)).toBe('from CloudEvents')
    expect(firstHeader(headers, wireNames.type)).toBe(undefined)
  })
})

describe('wireHeaders()', () => {
  const message = (headers: Record<string, string | string[]>, more = {}) => ({
    id: 'm1',
    type: 't',
    timeMs: 5,
    headers: headersFrom(Object.entries(headers)),
    ...more,
  })

  it('adds what the headers of a message do not say', () => {
    expect(wireHeaders(message({}))).toEqual({ 'message-id': 'm1', 'message-type': 't', 'message-time': '5' })
    expect(wireHeaders(message({ 'message-id': 'm0' }))['message-id']).toBe('m1')
  })

  it('leaves alone what they say already, repeats and spelling included', () => {
    const headers = { 'message-id': ['m1', 'm0'], 'message-type': 't', 'message-time': '9999999999999999' }
    expect(wireHeaders(message(headers, { timeMs: Number('9999999999999999') }))).toEqual({})
    const date = '2025-01-02T03:04:05Z'
    expect(wireHeaders(message({ ...headers, 'message-time': date }, { timeMs: Date.parse(date) }))).toEqual({})
  })
})
