import { MsgHdrsImpl, MsgImpl } from '@nats-io/nats-core/internal'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { JsMsg } from '@nats-io/jetstream'
import { messageFrom } from '../../../src/transports/jetstream/codec.ts'
import { eachHeader } from '../../../src/transports/jetstream/header-block.ts'

/** A message as JetStream's client wraps the one of its connection, with this block of headers. */
function clientMessage(block: string) {
  const headers = Buffer.from(block)
  const data = Buffer.concat([headers, Buffer.from('body')])
  const place = { subject: Buffer.from('orders.1'), hdr: headers.length, sid: 1, size: data.length }
  const msg = new MsgImpl(place, data, {} as never)
  return {
    msg,
    get headers() {
      return msg.headers
    },
    data: msg.data,
    subject: msg.subject,
    time: new Date(0),
  }
}

function visited(raw: { readonly headers: JsMsg['headers'] }): readonly (readonly [string, string])[] {
  const all: [string, string][] = []
  eachHeader(raw, (name, value) => all.push([name, value]))
  return all
}

describe('the headers of a NATS message', () => {
  const name = fc.stringMatching(/^[!-9;-~]{1,12}$/)
  const value = fc.string({ maxLength: 20 }).filter((text) => !/[\r\n]/.test(text))

  it('are what the client reads, repeats included, read from the block or from the client', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(name, value), { maxLength: 8 }), (pairs) => {
        const headers = new MsgHdrsImpl()
        for (const [key, text] of pairs) headers.append(key, text)
        if (headers.size() === 0) return
        const raw = clientMessage(headers.toString())
        const grouped = Map.groupBy(visited(raw), ([key]) => key)
        expect([...grouped].map(([key, all]) => [key, all.map(([, text]) => text)])).toEqual([...(raw.headers ?? [])])
        // Without the block, from what the client read.
        expect(visited({ headers: raw.headers }).toSorted()).toEqual(visited(raw).toSorted())
      }),
    )
  })

  it('with a name that the client refuses to read are read all the same', () => {
    const raw = clientMessage('NATS/1.0\r\nbad name: 1\r\nmessage-key: k\r\nmessage-id: m\r\n\r\n')
    expect(() => raw.headers).toThrow()
    expect(messageFrom(raw)).toMatchObject({ id: 'm', key: 'k', headers: { 'bad name': '1', 'message-id': 'm' } })
  })

  it.each(['NATS/1.0\r\n\r\n', 'NATS/1.0\r\n:\r\nno colon\r\n\r\n', 'NATS/1.0 503\r\n\r\n'])(
    '%j has no header',
    (block) => {
      expect(visited(clientMessage(block)).filter(([key]) => key !== '')).toEqual([])
    },
  )

  it('are none where nothing can be read', () => {
    const broken = {
      get headers(): never {
        throw new Error('a letter that is not allowed')
      },
    }
    expect(visited(broken)).toEqual([])
  })
})
