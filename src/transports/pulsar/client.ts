import type { ConnectionOptions } from 'node:tls'
import { systemClock, type Clock } from '../../core/clock.ts'
import { badOption, callback, checkOptions, clockKind, either, having, ms, required, text } from '../../core/options.ts'
import type { Arrived } from './protocol/commands.ts'
import { Connection, type PulsarAuth } from './protocol/connection.ts'
import { PulsarError } from './protocol/errors.ts'

export interface PulsarClientOptions {
  /** `pulsar://host:6650`, or `pulsar+ssl://host:6651`. */
  readonly serviceUrl: string
  /** Or a function that gives one: it is asked at every connection, and when the broker wants a newer one. */
  readonly token?: string | (() => Promise<string> | string)
  /** As `tls.connect()` takes them: `ca`, `cert`, `key`. For `pulsar+ssl`. */
  readonly tls?: ConnectionOptions
  /** Pings after half of it in ms; a broker that is silent for two of them is gone. @defaultValue 10_000 */
  readonly keepAliveMs?: number
  /** Longest wait for an answer, in ms. @defaultValue 10_000 */
  readonly requestMs?: number
  readonly clock?: Clock
}

/** A client of Pulsar's binary protocol. It connects when it is needed, and again when a connection is gone. */
export interface PulsarClient {
  /** The connection to the broker that serves a topic. */
  connectionFor(topic: string): Promise<Connection>
  /** How many partitions a topic has; 0 for one without. */
  partitionsOf(topic: string): Promise<number>
  /** Ends all connections. */
  close(): void
}

const mostRedirects = 20
const redirected = 0
const connectTo = 1

export function pulsarClient(options: PulsarClientOptions): PulsarClient {
  const self = 'pulsarClient'
  const { serviceUrl, token, tls, ...rest } = checkOptions(self, options, {
    serviceUrl: required(text),
    token: either(text, callback),
    tls: having(),
    keepAliveMs: ms(),
    requestMs: ms(),
    clock: clockKind,
  })
  if (!/^pulsar(\+ssl)?:\/\/[^/]+/.test(serviceUrl))
    throw badOption(self, 'serviceUrl', 'an address such as pulsar://localhost:6650', serviceUrl)
  const auth: PulsarAuth | undefined =
    token === undefined ? undefined : { method: 'token', data: typeof token === 'string' ? () => token : token }
  return new Client(serviceUrl, auth, tls, rest)
}

/** The name with its tenant and namespace. */
export function fullName(topic: string): string {
  return topic.includes('://') ? topic : `persistent://public/default/${topic}`
}

class Client implements PulsarClient {
  readonly #serviceUrl: string
  readonly #auth: PulsarAuth | undefined
  readonly #tls: ConnectionOptions
  readonly #keepAliveMs: number
  readonly #requestMs: number
  readonly #clock: Clock
  readonly #connections = new Map<string, Connection>()
  #isClosed = false

  constructor(
    serviceUrl: string,
    auth: PulsarAuth | undefined,
    tls: ConnectionOptions = {},
    { keepAliveMs = 10_000, requestMs = 10_000, clock = systemClock }: Partial<PulsarClientOptions>,
  ) {
    this.#serviceUrl = serviceUrl
    this.#auth = auth
    this.#tls = tls
    this.#keepAliveMs = keepAliveMs
    this.#requestMs = requestMs
    this.#clock = clock
  }

  async connectionFor(topic: string): Promise<Connection> {
    let connection = await this.#connection(this.#serviceUrl)
    let isAuthoritative = false
    for (let hop = 0; hop < mostRedirects; hop++) {
      const answer: Arrived = await connection.request('lookup', { topic: fullName(topic), isAuthoritative })
      const { url, response, isThroughProxy } = lookupIn(answer, this.#serviceUrl)
      if (response === connectTo && isThroughProxy) return this.#connection(this.#serviceUrl, url)
      connection = isThroughProxy ? connection : await this.#connection(url)
      if (response === connectTo) return connection
      isAuthoritative = answer.name === 'lookupAnswer' && answer.value.isAuthoritative === true
    }
    throw new PulsarError('TooManyRedirects', `no broker serves ${topic}`)
  }

  async partitionsOf(topic: string): Promise<number> {
    const connection = await this.#connection(this.#serviceUrl)
    const answer = await connection.request('partitions', { topic: fullName(topic) })
    return answer.name === 'partitionsAnswer' ? (answer.value.partitions ?? 0) : 0
  }

  close(): void {
    this.#isClosed = true
    for (const connection of this.#connections.values()) connection.close()
    this.#connections.clear()
  }

  /** @param brokerUrl where a proxy is to bring it. */
  async #connection(url: string, brokerUrl?: string): Promise<Connection> {
    if (this.#isClosed) throw new PulsarError('Disconnected', 'the client was closed')
    const name = `${url} ${brokerUrl ?? ''}`
    let connection = this.#connections.get(name)
    if (connection === undefined || connection.error !== undefined) {
      const isTls = url.startsWith('pulsar+ssl:')
      const { hostname, port } = new URL(url.replace(/^pulsar(\+ssl)?:/, 'http:'))
      connection = new Connection({
        ...{ host: hostname, port: Number(port || (isTls ? 6651 : 6650)), tls: isTls ? this.#tls : undefined },
        ...{ auth: this.#auth, keepAliveMs: this.#keepAliveMs, requestMs: this.#requestMs, clock: this.#clock },
        ...(brokerUrl === undefined ? {} : { brokerUrl }),
      })
      this.#connections.set(name, connection)
    }
    await connection.ready
    return connection
  }
}

function lookupIn(
  answer: Arrived,
  serviceUrl: string,
): { readonly url: string; readonly response: number; readonly isThroughProxy: boolean } {
  if (answer.name !== 'lookupAnswer') throw new PulsarError('ProtocolError', 'a lookup was answered by something else')
  const { url, tlsUrl, response = redirected, isThroughProxy = false } = answer.value
  const found = serviceUrl.startsWith('pulsar+ssl:') ? (tlsUrl ?? url) : url
  if (found === undefined || found === '') throw new PulsarError('ServiceNotReady', 'a lookup named no broker')
  return { url: found, response, isThroughProxy }
}
