import { headersFrom, type Headers } from '../../src/core/message.ts'

/** Headers that strangers send. */
export const hostileHeaders: readonly (readonly [what: string, headers: Headers])[] = [
  [
    'names that every object has',
    headersFrom([
      ['__proto__', 'p'],
      ['constructor', 'c'],
      ['prototype', 'q'],
      ['toString', 't'],
      ['hasOwnProperty', 'h'],
    ]),
  ],
  ['64 KB of baggage', headersFrom([['baggage', `k=${'x'.repeat(65_536)}`]])],
  [
    'bytes that are no text',
    headersFrom([
      ['raw', Buffer.from([0xff, 0xfe, 0, 0x80])],
      ['message-type', Buffer.from([0xc3, 0x28])],
    ]),
  ],
  ['ten thousand headers', headersFrom(Array.from({ length: 10_000 }, (_, n): [string, string] => [`h${n}`, 'v']))],
  [
    'repeats, empty ones and none',
    headersFrom([
      ['many', ['a', Buffer.from([0xff])]],
      ['empty', ''],
      ['', 'no name'],
      ['none', []],
    ]),
  ],
  [
    'a broken trace context',
    headersFrom([
      ['traceparent', '00-zz-zz-zz'],
      ['tracestate', ',,,='],
    ]),
  ],
  [
    'the marks of a dead letter',
    headersFrom([
      ['holdfast-dead-reason', 'permanent'],
      ['holdfast-dead-count', '999999999999999'],
    ]),
  ],
  ['line breaks and NUL', headersFrom([['x', 'a\r\nset-cookie: b\0']])],
]
