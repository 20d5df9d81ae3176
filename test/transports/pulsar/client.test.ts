import { pulsarClient, pulsarConsumer, pulsarPublisher, type PulsarClientOptions } from 'holdfast/pulsar'
import { afterEach, describe, expect, it } from 'vitest'
import { pipeline } from '../../../src/core/pipeline.ts'
import { outgoing } from '../../../src/core/publisher.ts'
import type { PulsarClient } from '../../../src/transports/pulsar/client.ts'
import type { Arrived } from '../../../src/transports/pulsar/protocol/commands.ts'
import { until } from '../rabbitmq/support.ts'
import { fakeBroker, pem, type FakeBroker, type Reply, type Script } from './fake-broker.ts'

const redirect = 0
const connectTo = 1
const failed = 1

const closing: { close(): unknown }[] = []
afterEach(() => {
  for (const one of closing.splice(0)) one.close()
})

async function broker(script?: Script, tls?: Parameters<typeof fakeBroker>[1]): Promise<FakeBroker> {
  const made = await fakeBroker(script, tls)
  closing.push(made)
  return made
}

function connect(serviceUrl: string, options: Partial<PulsarClientOptions> = {}): PulsarClient {
  const client = pulsarClient({ serviceUrl, requestMs: 1_000, ...options })
  closing.push(client)
  return client
}

const answering =
  (answer: (command: Arrived & { readonly name: 'lookup' }, reply: Reply) => void): Script =>
  (command, reply) => {
    if (command.name !== 'lookup') return false
    answer(command, reply)
    return true
  }

const one = [outgoing({ destination: 'orders', id: 'm', body: null })]

describe('lookups', () => {
  it('are followed to the broker that they name, which is asked as one that must know', async () => {
    const last = await broker()
    const next = await broker(
      answering(({ value: { requestId } }, reply) =>
        reply('lookupAnswer', { requestId, response: connectTo, url: last.url }),
      ),
    )
    const first = await broker(
      answering(({ value: { requestId } }, reply) =>
        reply('lookupAnswer', { requestId, response: redirect, url: next.url, isAuthoritative: true }),
      ),
    )
    await pulsarPublisher(connect(first.url)).publish(one)
    expect(first.of('lookup')).toMatchObject([{ isAuthoritative: false }])
    expect(next.of('lookup')).toMatchObject([{ isAuthoritative: true }])
    expect([first, next, last].map((each) => each.of('send').length)).toEqual([0, 0, 1])
  })

  it('that go round in a circle end', async () => {
    const circle = await broker(
      answering(({ value: { requestId } }, reply) =>
        reply('lookupAnswer', { requestId, response: redirect, url: circle.url }),
      ),
    )
    await expect(connect(circle.url).connectionFor('orders')).rejects.toMatchObject({ code: 'TooManyRedirects' })
  })

  it('through a proxy lead to a second connection to the proxy, which names the broker', async () => {
    const proxy = await broker(
      answering(({ value: { requestId } }, reply) =>
        reply('lookupAnswer', {
          ...{ requestId, response: connectTo, isThroughProxy: true },
          ...{ url: 'pulsar://broker-7.internal:6650', tlsUrl: 'pulsar+ssl://broker-7.internal:6651' },
        }),
      ),
    )
    await pulsarPublisher(connect(proxy.url)).publish(one)
    expect(proxy.of('connect').map(({ proxyToBrokerUrl }) => proxyToBrokerUrl)).toEqual([
      undefined,
      'broker-7.internal:6650',
    ])
    expect(proxy.of('send')).toHaveLength(1)
  })

  it.each([
    ['no address', ''],
    ['what is no address', 'http://broker'],
    ['several addresses', 'pulsar://a:1,b:2'],
  ])('that are answered with %s are tried again, and say so', async (_, url) => {
    const lost = await broker(
      answering(({ value: { requestId } }, reply) => reply('lookupAnswer', { requestId, response: connectTo, url })),
    )
    await expect(connect(lost.url).connectionFor('orders')).rejects.toThrow(/ServiceNotReady: a lookup by pulsar:/)
  })

  it('P-19: never lead from TLS to a connection in the clear, which would carry the token', async () => {
    const clear = await broker()
    const secure = await broker(
      answering(({ value: { requestId } }, reply) =>
        reply('lookupAnswer', { requestId, response: connectTo, url: clear.url }),
      ),
      { key: pem('broker-key'), cert: pem('broker') },
    )
    const client = connect(secure.url, { token: 'secret', tls: { ca: pem('ca') } })
    await expect(client.connectionFor('orders')).rejects.toThrow(/answered with no address/)
    expect(clear.seen).toEqual([])
  })

  it('ask the next broker of the address where one does not answer', async () => {
    const gone = await broker()
    gone.close()
    const there = await broker()
    const client = connect(`pulsar://127.0.0.1:${gone.port},127.0.0.1:${there.port}`)
    await pulsarPublisher(client).publish(one)
    expect(there.of('send')).toHaveLength(1)
  })

  it('do not take a topic whose partitions nobody knows for one without', async () => {
    const unsure = await broker((command, reply) => {
      if (command.name !== 'partitions') return false
      reply('partitionsAnswer', { requestId: command.value.requestId, response: failed })
      return true
    })
    await expect(connect(unsure.url).partitionsOf('orders')).rejects.toMatchObject({ code: 'ServiceNotReady' })
  })
})

describe('addresses', () => {
  it.each(['localhost:6650', 'http://a:8080', 'pulsar://', 'pulsar://a,', 'pulsar://a b', 'pulsar://a/tenant'])(
    '%s is refused',
    (serviceUrl) => {
      expect(() => pulsarClient({ serviceUrl })).toThrow(/serviceUrl must be an address such as pulsar/)
    },
  )
})

describe('TLS', () => {
  const secure = (cert: 'broker' | 'elsewhere' | 'expired') =>
    broker(undefined, { key: pem('broker-key'), cert: pem(cert) })

  it('carries everything, to a certificate that an authority of our own signed', async () => {
    const there = await secure('broker')
    await pulsarPublisher(connect(there.url, { tls: { ca: pem('ca') } })).publish(one)
    expect(there.of('send')).toHaveLength(1)
  })

  it('takes the name that is given for one that the address has not', async () => {
    const there = await secure('elsewhere')
    const tls = { ca: pem('ca'), servername: 'pulsar.example' }
    await pulsarPublisher(connect(there.url, { tls })).publish(one)
    expect(there.of('send')).toHaveLength(1)
  })

  it.each([
    ['of another authority', 'broker', 'other-ca', /unable to verify the first certificate/],
    ['for another host', 'elsewhere', 'ca', /does not match certificate's altnames/],
    ['that has expired', 'expired', 'ca', /certificate has expired/],
  ] as const)(
    'P-19: refuses a certificate %s in one error, for consumers and publishers alike',
    async (_, cert, ca, text) => {
      const there = await secure(cert)
      const client = connect(there.url, { token: 'secret', tls: { ca: pem(ca) } })
      const handler = pipeline('orders').handle(() => {})
      const consumer = pulsarConsumer({ client, topics: ['orders'], subscription: 's', pipeline: handler })
      const ended = consumer.run(new AbortController().signal)
      await expect(ended).rejects.toThrow(text)
      await expect(ended).rejects.toThrow(/pulsar: the topics cannot be read: CertificateError: the certificate of 127/)
      await expect(pulsarPublisher(client).publish(one)).rejects.toMatchObject({
        code: 'unavailable',
        message: expect.stringMatching(text) as string,
      })
      expect(there.seen).toEqual([])
    },
  )

  it('says that a port does not speak TLS, and that it does', async () => {
    const [clear, tls] = [await broker(), await secure('broker')]
    const asTls = connect(clear.url.replace('pulsar:', 'pulsar+ssl:'))
    await expect(asTls.connectionFor('orders')).rejects.toThrow(/does not speak TLS: see to its port/)
    const asClear = connect(tls.url.replace('pulsar+ssl:', 'pulsar:'))
    await expect(asClear.connectionFor('orders')).rejects.toThrow(
      /it speaks TLS\. Use pulsar\+ssl|connection was closed/,
    )
  })

  it('says that a port speaks HTTP', async () => {
    const web = await broker((_, { socket }) => {
      socket.write('HTTP/1.1 400 Bad Request\r\n\r\n')
      return true
    })
    await expect(connect(web.url).connectionFor('orders')).rejects.toThrow(/it speaks HTTP\. Use the port/)
  })
})

describe('tokens', () => {
  const sent = ({ authData }: { readonly authData?: Buffer | undefined }): string => String(authData)

  it('are asked for at every connection', async () => {
    const there = await broker()
    let count = 0
    const client = connect(there.url, { token: () => Promise.resolve(`token-${++count}`) })
    await client.connectionFor('orders')
    for (const socket of there.sockets) socket.destroy()
    await until('it is gone', () => there.sockets.size === 0)
    await until('another one', () => client.connectionFor('orders').then(Boolean, () => false))
    expect(there.of('connect').map(sent)).toEqual(['token-1', 'token-2'])
    expect(there.of('connect')).toMatchObject([{ authMethod: 'token' }, {}])
    expect(there.of('connect')[0]).toMatchObject({ features: { supportsAuthRefresh: true } })
  })

  it('are renewed on the living connection when the broker wants a newer one', async () => {
    const there = await broker()
    let count = 0
    const client = connect(there.url, { token: () => `token-${++count}` })
    const connection = await client.connectionFor('orders')
    there.send('authChallenge', { serverVersion: 'fake', protocolVersion: 19 })
    await until('the newer one', () => there.of('authResponse').length === 1)
    const [answer] = there.of('authResponse')
    expect(answer?.response).toMatchObject({ method: 'token' })
    expect(String(answer?.response?.data)).toBe('token-2')
    await pulsarPublisher(client).publish(one)
    expect(connection.error).toBeUndefined()
    expect(there.of('connect')).toHaveLength(1)
  })

  it('that cannot be renewed end the connection with one error, and the next one asks again', async () => {
    const there = await broker()
    let isAway = false
    const client = connect(there.url, {
      token: () => (isAway ? Promise.reject(new Error('the issuer is away')) : 'token'),
    })
    const connection = await client.connectionFor('orders')
    isAway = true
    there.send('authChallenge', { serverVersion: 'fake', protocolVersion: 19 })
    await until('it ended', () => connection.error !== undefined)
    expect(connection.error).toMatchObject({
      code: 'NoCredentials',
      message: 'NoCredentials: the token function failed: the issuer is away',
    })
    isAway = false
    await client.connectionFor('orders')
  })

  it('are refused in one error where the broker does not take them, or wants some and there are none', async () => {
    const strict = await broker((command, reply) => {
      if (command.name !== 'connect') return false
      if (command.value.authData === undefined) reply('authChallenge', { serverVersion: 'fake', protocolVersion: 19 })
      else reply('error', { requestId: -1, error: 3, message: 'Failed to authenticate' })
      return true
    })
    const handler = pipeline('orders').handle(() => {})
    for (const [client, text] of [
      [connect(strict.url, { token: 'wrong' }), /AuthenticationError: Failed to authenticate/],
      [connect(strict.url), /AuthenticationError: the broker asks for credentials/],
    ] as const) {
      const consumer = pulsarConsumer({ client, topics: ['orders'], subscription: 's', pipeline: handler })
      await expect(consumer.run(new AbortController().signal)).rejects.toThrow(text)
      await expect(pulsarPublisher(client).publish(one)).rejects.toMatchObject({ code: 'unavailable' })
    }
  })
})
