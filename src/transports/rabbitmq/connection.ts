import type { Channel } from 'amqplib'
import { sleep, type Clock } from '../../core/clock.ts'
import { HoldfastError } from '../../core/errors.ts'
import { isClosed, reasonOf, unavailable } from './errors.ts'

/** What a consumer needs of a connection of amqplib, one with `recovery` or a plain one. */
export interface RabbitmqConnection {
  createChannel(): Promise<Channel>
  on(event: string, listener: (error: Error) => void): unknown
  removeListener(event: string, listener: (error: Error) => void): unknown
}

const firstWaitMs = 100
const longestWaitMs = 5_000

/** Opens channels on the service's connection: again and again while it may come back, and not once more when it cannot. */
export class ChannelSource {
  readonly #connection: RabbitmqConnection
  readonly #clock: Clock
  readonly #recovers: boolean
  #listens = false
  #gaveUp: Error | undefined
  #lastError: unknown
  /** What the last try failed of. */
  problem: string | undefined
  readonly #connectionError = (error: Error): void => void (this.problem = reasonOf(error))
  readonly #recoveryFailed = (error: Error): void => void (this.#gaveUp = error)

  constructor(connection: RabbitmqConnection, clock: Clock) {
    this.#connection = connection
    this.#clock = clock
    this.#recovers = 'waitForConnect' in connection
  }

  #listen(): void {
    if (this.#listens) return
    this.#listens = true
    // Without a listener, an error of the connection would end the process. The consumer hears of it by its channels.
    this.#connection.on('error', this.#connectionError)
    this.#connection.on('connect-failed', this.#connectionError)
    this.#connection.on('reconnect-failed', this.#recoveryFailed)
  }

  dispose(): void {
    this.#listens = false
    this.#connection.removeListener('error', this.#connectionError)
    this.#connection.removeListener('connect-failed', this.#connectionError)
    this.#connection.removeListener('reconnect-failed', this.#recoveryFailed)
  }

  /**
   * A channel with listeners, so that no error of it ends the process.
   * @throws HoldfastError (`unavailable`) when the connection is closed for good; the signal's reason when it aborts.
   */
  async open(signal: AbortSignal): Promise<Channel> {
    this.#listen()
    for (let waitMs = firstWaitMs; ; waitMs = Math.min(2 * waitMs, longestWaitMs)) {
      signal.throwIfAborted()
      try {
        const channel = await this.#unlessAborted(this.#connection.createChannel(), signal)
        channel.on('error', ignore)
        this.problem = undefined
        return channel
      } catch (error) {
        signal.throwIfAborted()
        this.problem = reasonOf(error)
        if (this.#isOver(error)) throw this.#over(error)
        this.#lastError = error
        await sleep(this.#clock, waitMs, signal)
      }
    }
  }

  #isOver(error: unknown): boolean {
    // A connection that gave up rejects every call with the one error that it gave up with.
    if (this.#gaveUp !== undefined || error === this.#lastError) return true
    return this.#recovers ? reasonOf(error) === 'Connection closed' : isClosed(error)
  }

  #over(error: unknown): HoldfastError {
    const hint = this.#recovers
      ? ''
      : '. It does not come back by itself: make it with connect(url, { recovery: true })'
    return unavailable(`the connection to RabbitMQ is closed: ${reasonOf(this.#gaveUp ?? error)}${hint}`, error)
  }

  /** A connection that recovers gives its channels when it is back: a stop does not wait for that. */
  async #unlessAborted(opening: Promise<Channel>, signal: AbortSignal): Promise<Channel> {
    const aborted = Promise.withResolvers<never>()
    const abort = (): void => aborted.reject(new HoldfastError('stopped', 'shutting down', { cause: signal.reason }))
    signal.addEventListener('abort', abort, { once: true })
    try {
      return await Promise.race([opening, aborted.promise])
    } catch (error) {
      opening.then(
        (late) => void late.close().catch(ignore),
        () => {},
      )
      throw error
    } finally {
      signal.removeEventListener('abort', abort)
    }
  }
}

export function ignore(): void {}
