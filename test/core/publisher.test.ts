import { describe, expect, it } from 'vitest'
import { PublishError } from '../../src/core/errors.ts'
import { headersFrom } from '../../src/core/message.ts'
import { outgoing, publisher, type Outgoing, type Publisher, type PublishMiddleware } from '../../src/core/publisher.ts'

function wire() {
  const calls: { readonly messages: readonly Outgoing<string>[]; readonly signal: AbortSignal | undefined }[] = []
  const to: Publisher<string> = {
    publish: (messages, options) => Promise.resolve(void calls.push({ messages, signal: options?.signal })),
  }
  return { calls, to }
}

describe('publisher()', () => {
  it('hands messages and options to the wire', async () => {
    const { calls, to } = wire()
    const { signal } = new AbortController()
    const message = outgoing({ destination: 'orders', body: 'a' })
    await publisher(to).publish([message], { signal })
    expect(calls).toEqual([{ messages: [message], signal }])
  })

  it('the last added is outermost: it sees the messages first', async () => {
    const { calls, to } = wire()
    const adding =
      (suffix: string): PublishMiddleware<string> =>
      (next) =>
      (messages, options) =>
        next(
          messages.map((message) => ({ ...message, body: message.body + suffix })),
          options,
        )
    await publisher(to)
      .use(adding('1'))
      .use(adding('2'))
      .publish([outgoing({ destination: 'orders', body: 'a' })])
    expect(calls[0]?.messages[0]?.body).toBe('a21')
  })

  it('leaves the publisher that it wraps as it was', async () => {
    const { calls, to } = wire()
    const plain = publisher(to)
    plain.use(() => () => Promise.reject(new Error('never')))
    await plain.publish([outgoing({ destination: 'orders', body: 'a' })])
    expect(calls).toHaveLength(1)
  })

  it('passes on which messages were not published, and keeps a publisher that is a class working', async () => {
    const error = new PublishError('one of two', [{ index: 1, error: new Error('too large'), permanent: true }])
    class Wire implements Publisher<string> {
      readonly error = error
      publish(): Promise<void> {
        return Promise.reject(this.error)
      }
    }
    const sent = publisher(new Wire()).publish([])
    await expect(sent).rejects.toBe(error)
    expect(error.failures).toMatchObject([{ index: 1, permanent: true }])
  })
})

describe('outgoing()', () => {
  it('fills in a fresh id, the destination as type, no key, no headers, and now', () => {
    const before = Date.now()
    const [one, other] = [1, 2].map(() => outgoing({ destination: 'orders', body: 'a' }))
    expect(one).toMatchObject({ type: 'orders', key: null, destination: 'orders', body: 'a' })
    expect(one?.id).not.toBe(other?.id)
    expect(one?.timeMs).toBeGreaterThanOrEqual(before)
    expect(Object.getPrototypeOf(one?.headers)).toBe(null)
  })

  it('keeps what it is given', () => {
    const given = {
      id: 'm1',
      type: 't',
      key: 'k',
      headers: headersFrom([['a', 'b']]),
      timeMs: 5,
      destination: 'd',
      body: 1,
    }
    expect(outgoing(given)).toEqual(given)
  })

  it('refuses to have nowhere to go', () => {
    expect(() => outgoing({ destination: '', body: 1 })).toThrow(
      "outgoing: destination must be a text that is not empty, got ''",
    )
  })
})
