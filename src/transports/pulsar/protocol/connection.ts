import { connect as connectTcp, type Socket } from 'node:net'
import { connect as connectTls, type ConnectionOptions } from 'node:tls'
import type { Clock } from '../../../core/clock.ts'
import type { Arrived, Command, CommandName } from './commands.ts'
import { ProtocolError, PulsarError, serverError, socketError, withoutCredentials } from './errors.ts'
import { commandFrame, FrameCutter, parseFrame, type Payload } from './frames.ts'

export interface PulsarAuth {
  /** `token` of the broker's configuration. */
  readonly method: string
  /** Asked at every connection, and whenever the broker wants a newer one. */
  readonly data: () => Promise<string> | string
}

export interface ConnectionSettings {
  readonly host: string
  readonly port: number
  /** Nothing for a connection in the clear. */
  readonly tls: ConnectionOptions | undefined
  readonly auth: PulsarAuth | undefined
  /** The broker behind a proxy that this connection is for, as a lookup named it. */
  readonly brokerUrl?: string
  /** A ping after half of it; dead after two of silence. */
  readonly keepAliveMs: number
  /** For each answer, and for the connection to be made. */
  readonly requestMs: number
  readonly clock: Clock
}

/** What a consumer or producer is told, on the connection that it lives on. */
export interface Attached {
  arrived?(value: Command<'message'>, payload: Payload): void
  receipt?(value: Command<'sendReceipt'>): void
  refused?(value: Command<'sendError'>): void
  /** The broker closed it, or the connection is gone. Told once. */
  closed(why: string): void
}

const protocolVersion = 19
const clientVersion = 'holdfast'

/** The command that answers each request, unless it fails. */
const answers = {
  subscribe: 'success',
  producer: 'producerSuccess',
  closeConsumer: 'success',
  closeProducer: 'success',
  partitions: 'partitionsAnswer',
  lookup: 'lookupAnswer',
  ack: 'ackAnswer',
  seek: 'success',
} as const
type Asked = keyof typeof answers
type Answer<N extends Asked> = Command<(typeof answers)[N]>

interface Request {
  readonly wanted: CommandName
  readonly resolve: (answer: never) => void
  readonly reject: (error: Error) => void
  readonly cancel: () => void
}

/** One connection to one broker. It ends once, with one error, and every request and attachment on it ends with it. */
export class Connection {
  readonly ready: Promise<void>
  readonly consumers: Map<number, Attached> = new Map()
  readonly producers: Map<number, Attached> = new Map()
  maxMessageSize: number = 5 * 1024 * 1024
  readonly #settings: ConnectionSettings
  readonly #socket: Socket
  readonly #cutter = new FrameCutter()
  readonly #requests = new Map<number, Request>()
  readonly #opened = Promise.withResolvers<void>()
  #lastRequest = 0
  #unsent: Buffer[] = []
  #heardMs: number
  #cancelBeat = (): void => {}
  #isOpen = false
  #error: PulsarError | undefined

  constructor(settings: ConnectionSettings) {
    const { host, port, tls, clock, requestMs } = settings
    this.#settings = settings
    this.#heardMs = clock.now()
    this.ready = this.#opened.promise
    this.ready.catch(() => {})
    const cancelOpening = clock.after(requestMs, () =>
      this.#fail(new PulsarError('TimedOut', `no answer of ${host}:${port} within ${requestMs} ms`)),
    )
    this.ready.then(cancelOpening, cancelOpening)
    this.#socket = tls === undefined ? connectTcp({ host, port }) : connectTls({ ...tls, host, port })
    this.#socket.setNoDelay(true)
    this.#socket.once(tls === undefined ? 'connect' : 'secureConnect', () => void this.#greet())
    // Never text: no encoding is set.
    this.#socket.on('data', (bytes: Buffer | string) => this.#read(bytes as Buffer))
    this.#socket.on('error', (error) => this.#fail(socketError(error, `${host}:${port}`, tls !== undefined)))
    this.#socket.on('close', () => this.#fail(new PulsarError('Disconnected', 'the connection was closed')))
    this.#beat()
  }

  /** Nothing while it is alive. */
  get error(): PulsarError | undefined {
    return this.#error
  }

  close(): void {
    this.#fail(new PulsarError('Disconnected', 'the client was closed'))
  }

  write(frame: Buffer): void {
    if (this.#error !== undefined) return
    // What is written in one turn travels together.
    if (this.#unsent.push(frame) > 1) return
    process.nextTick(() => {
      const frames = this.#unsent
      this.#unsent = []
      if (this.#error === undefined)
        this.#socket.write(frames.length === 1 && frames[0] ? frames[0] : Buffer.concat(frames))
    })
  }

  send<N extends CommandName>(name: N, value: Command<N>): void {
    this.write(commandFrame(name, value))
  }

  /** @throws PulsarError as the broker answers, `Disconnected`, or `TimedOut`. */
  request<N extends Asked>(name: N, value: Omit<Command<N>, 'requestId'>): Promise<Answer<N>> {
    if (this.#error !== undefined) return Promise.reject(this.#error)
    const requestId = ++this.#lastRequest
    const { clock, requestMs } = this.#settings
    return new Promise((resolve, reject) => {
      const cancel = clock.after(requestMs, () => {
        this.#requests.delete(requestId)
        reject(new PulsarError('TimedOut', `no answer to ${name} within ${requestMs} ms`))
      })
      this.#requests.set(requestId, { wanted: answers[name], resolve, reject, cancel })
      this.send(name, { ...value, requestId })
    })
  }

  async #greet(): Promise<void> {
    const { auth, brokerUrl } = this.#settings
    try {
      const data = auth === undefined ? undefined : Buffer.from(await auth.data())
      this.send('connect', {
        ...{ clientVersion, protocolVersion, features: { supportsAuthRefresh: true } },
        ...(auth === undefined ? {} : { authMethod: auth.method, authData: data }),
        ...(brokerUrl === undefined ? {} : { proxyToBrokerUrl: brokerUrl.replace(/^pulsar(\+ssl)?:\/\//, '') }),
      })
    } catch (error) {
      this.#fail(withoutCredentials(error))
    }
  }

  #read(bytes: Buffer): void {
    this.#heardMs = this.#settings.clock.now()
    try {
      for (const bytesOfFrame of this.#cutter.frames(bytes)) {
        if (this.#error !== undefined) return
        const frame = parseFrame(bytesOfFrame)
        if (frame !== undefined) this.#take(frame, frame.payload)
      }
    } catch (error) {
      // Nobody knows where the next frame begins.
      const what = error instanceof Error ? error.message : String(error)
      this.#fail(new PulsarError('ProtocolError', what, { cause: error }))
    }
  }

  #take(arrived: Arrived, payload: Payload | undefined): void {
    const { name, value } = arrived
    if (name === 'connected') return this.#connected(value)
    if (name === 'ping') return this.send('pong', {})
    if (name === 'authChallenge') return void this.#answerChallenge()
    if (name === 'message') {
      if (payload !== undefined) this.consumers.get(value.consumerId ?? -1)?.arrived?.(value, payload)
    } else if (name === 'sendReceipt') this.producers.get(value.producerId ?? -1)?.receipt?.(value)
    else if (name === 'sendError') this.producers.get(value.producerId ?? -1)?.refused?.(value)
    else if (name === 'closeConsumer') this.#detach(this.consumers, value.consumerId)
    else if (name === 'closeProducer') this.#detach(this.producers, value.producerId)
    else this.#answered(arrived)
  }

  #connected({ maxMessageSize }: Command<'connected'>): void {
    if (maxMessageSize !== undefined && maxMessageSize > 0) {
      this.maxMessageSize = maxMessageSize
      this.#cutter.allow(maxMessageSize)
    }
    this.#isOpen = true
    this.#opened.resolve()
  }

  /** A token that ends is asked for again, on the living connection. */
  async #answerChallenge(): Promise<void> {
    const { auth } = this.#settings
    if (auth === undefined) return this.#fail(new PulsarError('AuthenticationError', 'the broker asks for credentials'))
    try {
      const data = Buffer.from(await auth.data())
      this.send('authResponse', { clientVersion, protocolVersion, response: { method: auth.method, data } })
    } catch (error) {
      this.#fail(withoutCredentials(error))
    }
  }

  #detach(all: Map<number, Attached>, id: number | undefined): void {
    const attached = all.get(id ?? -1)
    if (attached === undefined) return
    all.delete(id ?? -1)
    attached.closed('the broker closed it')
  }

  #answered(arrived: Arrived): void {
    const { name, value } = arrived
    if (name === 'error' && !this.#isOpen) return this.#fail(serverError(value.error, value.message))
    // It waits for another producer to go; a second answer follows.
    if (name === 'producerSuccess' && value.isReady === false) return
    if (!('requestId' in value) || value.requestId === undefined) return
    const request = this.#requests.get(value.requestId)
    if (request === undefined) return
    const error = 'error' in value ? value.error : undefined
    const isRefusal = name === 'error' || error !== undefined
    if (!isRefusal && name !== request.wanted)
      throw new ProtocolError(`${name} is no answer to what wants ${request.wanted}`)
    this.#requests.delete(value.requestId)
    request.cancel()
    if (isRefusal) request.reject(serverError(error, 'message' in value ? value.message : undefined))
    else request.resolve(value as never)
  }

  #beat(): void {
    const { clock, keepAliveMs } = this.#settings
    this.#cancelBeat = clock.after(
      keepAliveMs / 2,
      () => {
        const silentMs = clock.now() - this.#heardMs
        if (silentMs > 2 * keepAliveMs)
          return this.#fail(new PulsarError('Disconnected', `the broker said nothing for ${Math.round(silentMs)} ms`))
        if (this.#isOpen && silentMs > keepAliveMs / 2) this.send('ping', {})
        this.#beat()
      },
      true,
    )
  }

  #fail(error: PulsarError): void {
    if (this.#error !== undefined) return
    this.#error = error
    this.#cancelBeat()
    this.#opened.reject(error)
    this.#socket.destroy()
    for (const { reject, cancel } of this.#requests.values()) {
      cancel()
      reject(error)
    }
    this.#requests.clear()
    for (const all of [this.consumers, this.producers]) {
      const attached = [...all.values()]
      all.clear()
      for (const one of attached) one.closed(error.message)
    }
  }
}
