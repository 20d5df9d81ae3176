import type { DeliveryContext } from '../../consumer/consumer.ts'
import type { QueueClient, QueueHost, QueueMembership } from '../../consumer/queue/queue-client.ts'
import { sleep, type Clock } from '../../core/clock.ts'
import type { Delivery } from '../../core/delivery.ts'
import type { HoldfastError } from '../../core/errors.ts'
import type { Bytes } from '../../core/message.ts'
import type { Features } from '../../consumer/features.ts'
import { features } from '../features.ts'
import { checkAddresses } from './check-addresses.ts'
import { recordFrom, type AmqpMessageId, type AmqpRaw, type AmqpRecord } from './codec.ts'
import { ConnectionWatch, type ConnectionListener } from './connection-watch.ts'
import { reasonOf, unavailable } from './errors.ts'
import type { AmqpCondition, AmqpConnection } from './rhea-client.ts'
import { SourceLink } from './source-link.ts'
import { isSubscription, nameOf, terminusOf, type AmqpSource } from './terminus.ts'

export interface AmqpClientOptions {
  readonly connection: AmqpConnection
  readonly sources: readonly AmqpSource[]
  readonly sessionSize: number
  readonly id: AmqpMessageId | undefined
  readonly checkAddresses: boolean
  readonly connectWithinMs: number
  readonly refused: WeakMap<AmqpRaw, AmqpCondition>
  /** Said once, for `health()`. */
  readonly note: (text: string) => void
  readonly clock: Clock
}

const lookEveryMs = 20

/** What of the consumer is AMQP's alone: links, their credit, and the broker's settings. */
export class AmqpClient implements QueueClient<AmqpRecord> {
  readonly system = 'amqp'
  readonly features: Features = features.amqp
  readonly #options: AmqpClientOptions
  readonly #destinations: ReadonlyMap<string, string>

  constructor(options: AmqpClientOptions) {
    this.#options = options
    this.#destinations = new Map(options.sources.map((source) => [nameOf(source), terminusOf(source).address]))
  }

  keyOf({ message }: AmqpRecord): string | null {
    return message.key
  }

  deliveryOf(record: AmqpRecord, source: string, context: DeliveryContext): Delivery<Bytes> {
    // Asked again at every attempt: what it needs may be there by now.
    const { raw, message, idError } =
      record.idError === undefined ? record : recordFrom(record.raw, source, this.#options.id)
    if (idError !== undefined) throw idError
    const { pipeline, group, attempt, signal, draining } = context
    const destination = this.#destinations.get(source) ?? source
    const origin = { system: this.system, destination, partition: null, position: String(raw.delivery.id), group }
    return { message, bytes: message.body, pipeline, origin, attempt, signal, draining, raw }
  }

  async check(signal: AbortSignal): Promise<void> {
    const { connection, sources, note, clock } = this.#options
    if (!(await this.#connected(signal))) return
    if (!((connection.options?.idle_time_out ?? 0) > 0))
      note('the connection has no idle_time_out: a broker that stands still or is cut off is never noticed')
    if (sources.some(isSubscription) && !offers(connection, 'SHARED-SUBS'))
      throw unavailable('this broker offers no shared subscriptions (SHARED-SUBS): read a queue instead')
    if (!this.#options.checkAddresses) return
    const addresses = [...new Set(this.#destinations.values())]
    for (const found of await checkAddresses({ connection, addresses, clock, signal })) note(found)
  }

  /** rhea tries for ever, for any reason. */
  async #connected(signal: AbortSignal): Promise<boolean> {
    const { connection, connectWithinMs, clock } = this.#options
    const over: { error?: HoldfastError } = {}
    const watch = new ConnectionWatch(connection, { ...quiet, over: (error) => (over.error = error) })
    try {
      const untilMs = clock.now() + connectWithinMs
      while (!connection.is_open()) {
        if (over.error !== undefined) throw over.error
        if (clock.now() >= untilMs) throw notConnected(connectWithinMs, watch.problem)
        await sleep(clock, lookEveryMs, signal)
      }
      return true
    } catch (error) {
      if (signal.aborted) return false
      throw error
    } finally {
      watch.dispose()
    }
  }

  open(host: QueueHost<AmqpRecord>): Promise<QueueMembership> {
    return Promise.resolve(new AmqpMembership(this.#options, host))
  }
}

class AmqpMembership implements QueueMembership, ConnectionListener {
  readonly #links: readonly SourceLink[]
  readonly #watch: ConnectionWatch
  readonly #host: QueueHost<AmqpRecord>
  readonly #connection: AmqpConnection
  #isQuiet = false

  constructor({ connection, sources, ...options }: AmqpClientOptions, host: QueueHost<AmqpRecord>) {
    this.#host = host
    this.#connection = connection
    this.#links = sources.map((source) => new SourceLink({ ...options, connection, source, host }))
    this.#watch = new ConnectionWatch(connection, this)
    this.opened()
  }

  opened(): void {
    for (const link of this.#links) link.attach()
  }

  lost(reason: string): void {
    for (const link of this.#links) link.lost(reason)
  }

  over(error: HoldfastError): void {
    if (!this.#isQuiet) this.#host.failed(error)
  }

  problem(): string | undefined {
    if (!this.#connection.is_open()) return `the connection is not open: ${this.#watch.problem ?? 'it is being made'}`
    return this.#links.find(({ problem }) => problem !== undefined)?.problem
  }

  quiet(): void {
    this.#isQuiet = true
    for (const link of this.#links) link.quiet()
  }

  leave(): Promise<void> {
    for (const link of this.#links) link.discard()
    this.#watch.dispose()
    return Promise.resolve()
  }
}

const quiet: ConnectionListener = { opened() {}, lost() {}, over() {} }

function offers({ offered_capabilities: offered }: AmqpConnection, capability: string): boolean {
  return Array.isArray(offered) ? offered.includes(capability) : offered === capability
}

function notConnected(ms: number, problem: string | undefined): Error {
  const why = problem === undefined ? 'the broker did not answer' : reasonOf(new Error(problem))
  return unavailable(
    `no connection within ${ms} ms: ${why}. See to host and port, and set a username: some brokers want SASL even where they check no password`,
  )
}
