import type { ConnectionOptions } from 'node:tls'
import { systemClock, type Clock } from '../../core/clock.ts'
import { badOption, callback, checkOptions, clockKind, either, having, ms, required, text } from '../../core/options.ts'
import type { Command } from './protocol/commands.ts'
import { Connection, type PulsarAuth } from './protocol/connection.ts'
import { PulsarError } from './protocol/errors.ts'

export interface PulsarClientOptions {
  /** `pulsar://host:6650`, or `pulsar+ssl://host:6651`. Several hosts, `pulsar://one:6650,two:6650`, are tried in turn. */
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
const failed = 1

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
  const brokers = brokersIn(serviceUrl)
  if (brokers.length === 0)
    throw badOption(self, 'serviceUrl', 'an address such as pulsar://localhost:6650', serviceUrl)
  const auth: PulsarAuth | undefined =
    token === undefined ? undefined : { method: 'token', data: typeof token === 'string' ? () => token : token }
  return new Client(brokers, auth, tls, rest)
}

/** The name with its tenant and namespace. */
export function fullName(topic: string): string {
  return topic.includes('://') ? topic : `persistent://public/default/${topic}`
}

class Client implements PulsarClient {
  readonly #brokers: readonly string[]
  readonly #auth: PulsarAuth | undefined
  readonly #tls: ConnectionOptions
  readonly #keepAliveMs: number
  readonly #requestMs: number
  readonly #clock: Clock
  readonly #connections = new Map<string, Connection>()
  /** Which of the brokers is asked. The next one, where it does not answer. */
  #turn = 0
  #isClosed = false

  constructor(
    brokers: readonly string[],
    auth: PulsarAuth | undefined,
    tls: ConnectionOptions = {},
    { keepAliveMs = 10_000, requestMs = 10_000, clock = systemClock }: Partial<PulsarClientOptions>,
  ) {
    this.#brokers = brokers
    this.#auth = auth
    this.#tls = tls
    this.#keepAliveMs = keepAliveMs
    this.#requestMs = requestMs
    this.#clock = clock
  }

  async connectionFor(topic: string): Promise<Connection> {
    const [service, first] = await this.#service()
    let connection = first
    let isAuthoritative = false
    for (let hop = 0; hop < mostRedirects; hop++) {
      const answer: Command<'lookupAnswer'> = await connection.request('lookup', {
        topic: fullName(topic),
        isAuthoritative,
      })
      const { isThroughProxy = false, response = redirected } = answer
      const url = brokerIn(answer, service)
      if (response === connectTo && isThroughProxy) return this.#connection(service, url)
      connection = isThroughProxy ? connection : await this.#connection(url)
      if (response === connectTo) return connection
      isAuthoritative = answer.isAuthoritative === true
    }
    throw new PulsarError('TooManyRedirects', `no broker serves ${topic}`)
  }

  async partitionsOf(topic: string): Promise<number> {
    const [, connection] = await this.#service()
    const { partitions = 0, response } = await connection.request('partitions', { topic: fullName(topic) })
    if (response === failed) throw new PulsarError('ServiceNotReady', `nobody knows the partitions of ${topic}`)
    return partitions
  }

  close(): void {
    this.#isClosed = true
    for (const connection of this.#connections.values()) connection.close()
    this.#connections.clear()
  }

  /** Any broker answers what is asked of all of them. */
  async #service(): Promise<readonly [url: string, connection: Connection]> {
    const url = this.#brokers[this.#turn % this.#brokers.length] ?? ''
    try {
      return [url, await this.#connection(url)]
    } catch (error) {
      this.#turn++
      throw error
    }
  }

  /** @param brokerUrl where a proxy is to bring it. */
  async #connection(url: string, brokerUrl?: string): Promise<Connection> {
    if (this.#isClosed) throw new PulsarError('Disconnected', 'the client was closed')
    const name = `${url} ${brokerUrl ?? ''}`
    let connection = this.#connections.get(name)
    if (connection === undefined || connection.error !== undefined) {
      const isTls = url.startsWith('pulsar+ssl:')
      const { hostname, port } = new URL(url)
      connection = new Connection({
        ...{ host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || (isTls ? 6651 : 6650)) },
        ...{ tls: isTls ? this.#tls : undefined },
        ...{ auth: this.#auth, keepAliveMs: this.#keepAliveMs, requestMs: this.#requestMs, clock: this.#clock },
        ...(brokerUrl === undefined ? {} : { brokerUrl }),
      })
      this.#connections.set(name, connection)
    }
    await connection.ready
    return connection
  }
}

function brokerIn({ url, tlsUrl }: Command<'lookupAnswer'>, service: string): string {
  const found = service.startsWith('pulsar+ssl:') ? tlsUrl : url
  if (found !== undefined && brokersIn(found).length === 1) return found
  const other = found === undefined || found === '' ? 'no address' : `the address ${found.slice(0, 200)}`
  throw new PulsarError('ServiceNotReady', `a lookup by ${service} was answered with ${other}`)
}

/** Each host of an address as an address of its own; none where that is no address. */
function brokersIn(serviceUrl: string): readonly string[] {
  const [, scheme, hosts] = /^(pulsar(?:\+ssl)?:\/\/)([^/]+)\/?$/.exec(serviceUrl) ?? []
  if (scheme === undefined || hosts === undefined) return []
  const all = hosts.split(',').map((host) => scheme + host)
  return all.every((one) => URL.canParse(one) && new URL(one).hostname !== '') ? all : []
}
