import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import { pulsarClient, pulsarConsumer, pulsarPublisher, type PulsarClientOptions } from 'holdfast/pulsar'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import { pulsarToken } from '../../../scripts/services/pulsar-security.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { outgoing, type Outgoing } from '../../../src/core/publisher.ts'
import type { PulsarClient } from '../../../src/transports/pulsar/client.ts'
import { privatePulsar, type PrivateServer } from '../../support/private-servers.ts'
import { describeWith, uniqueName } from '../../support/services.ts'
import { describeFull, isFull } from '../../support/skipped.ts'
import { until } from '../rabbitmq/support.ts'
import { pem } from './fake-broker.ts'

const fixtures = join(import.meta.dirname, '../../support/fixtures/tls')
const secret = randomBytes(32)
const security = { certificate: join(fixtures, 'broker.pem'), key: join(fixtures, 'broker-key.pem'), secret }

if (isFull)
  describeWith(['pulsar'], 'Pulsar with TLS and tokens', () => {
    let server: PrivateServer | undefined
    const clients: PulsarClient[] = []
    beforeAll(async () => {
      server = await privatePulsar({ secure: security })
    }, 240_000)
    afterAll(() => server?.dispose(), 60_000)
    afterEach(() => {
      for (const client of clients.splice(0)) client.close()
    })

    function connect(options: Partial<PulsarClientOptions> = {}): PulsarClient {
      const token = pulsarToken(secret, 'admin')
      const client = pulsarClient({ serviceUrl: server?.also['tls'] ?? '', tls: { ca: pem('ca') }, token, ...options })
      clients.push(client)
      return client
    }

    const numbered = (destination: string, count: number, from = 0): readonly Outgoing[] =>
      Array.from({ length: count }, (_, n) => outgoing({ destination, id: `m${from + n}`, key: 'k', body: null }))

    function consume(client: PulsarClient, topic: string) {
      const seen: string[] = []
      const stop = new AbortController()
      const handler = pipeline('orders').handle(({ message }) => void seen.push(message.id))
      const consumer = pulsarConsumer({ client, topics: [topic], subscription: 'billing', pipeline: handler })
      const running = consumer.run(stop.signal)
      running.catch(() => {})
      return { seen, running, consumer, end: () => (stop.abort(), running) }
    }

    it('publishes and consumes over TLS with a token, lookups included', async () => {
      const topic = uniqueName('topic')
      const client = connect()
      await pulsarPublisher(client).publish(numbered(topic, 20))
      const { seen, end } = consume(client, topic)
      await until('all', () => seen.length === 20)
      await end()
      expect(seen).toEqual(numbered(topic, 20).map(({ id }) => id))
    })

    it.each([
      ['a token that is signed by somebody else', () => ({ token: pulsarToken(randomBytes(32), 'admin') })],
      ['a token that has expired', () => ({ token: pulsarToken(secret, 'admin', -60_000) })],
      ['no token', () => ({ token: () => '' })],
    ])('P-19: is refused with %s, in one error', async (_, options) => {
      const client = connect(options())
      await expect(consume(client, 'orders').running).rejects.toThrow(/cannot be read: AuthenticationError/)
      await expect(pulsarPublisher(client).publish(numbered('orders', 1))).rejects.toMatchObject({
        code: 'unavailable',
        message: expect.stringMatching(/AuthenticationError/) as string,
      })
    })

    it('is refused with a role that has no right, in one error', async () => {
      const client = connect({ token: pulsarToken(secret, 'nobody') })
      await expect(consume(client, uniqueName('topic')).running).rejects.toThrow(/AuthorizationError/)
      await expect(pulsarPublisher(client).publish(numbered(uniqueName('topic'), 1))).rejects.toMatchObject({
        code: 'unavailable',
        message: expect.stringMatching(/AuthorizationError/) as string,
      })
    })

    it.each([
      ['whose certificate another authority signed', { tls: { ca: pem('other-ca') } }],
      ['whose certificate is for another host', { tls: { ca: pem('ca'), servername: 'pulsar.example' } }],
    ])('P-19: does not speak to a broker %s', async (_, options) => {
      await expect(consume(connect(options), 'orders').running).rejects.toThrow(/CertificateError: the certificate of/)
    })

    it('renews tokens on the living connection, and loses nothing when they can not be renewed for a while', async () => {
      const topic = uniqueName('topic')
      let asked = 0
      let isAway = false
      const client = connect({
        token() {
          if (isAway) throw new Error('the issuer is away')
          asked++
          return pulsarToken(secret, 'admin', 3_000)
        },
      })
      const publisher = pulsarPublisher(client)
      const { seen, end, consumer } = consume(client, topic)
      await until('it is there', () => consumer.health().ready)
      const connection = await client.connectionFor(topic)
      const before = asked
      await until('two renewals', () => asked >= before + 2)
      await publisher.publish(numbered(topic, 5))
      await until('five', () => seen.length === 5)
      expect(connection.error).toBeUndefined()
      isAway = true
      await until('it ended', () => connection.error !== undefined)
      expect(connection.error?.message).toMatch(/NoCredentials: the token function failed: the issuer is away/)
      isAway = false
      await publisher.publish(numbered(topic, 5, 5))
      await until('ten', () => new Set(seen).size === 10)
      await end()
    }, 120_000)
  })

// A file needs a suite, also where its server is not there.
if (!isFull) describeFull('Pulsar with TLS and tokens', () => it('needs the full run', () => expect(isFull).toBe(true)))
