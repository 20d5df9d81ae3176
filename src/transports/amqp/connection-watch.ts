import type { HoldfastError } from '../../core/errors.ts'
import { conditionOf, reasonOf, unavailable } from './errors.ts'
import type { AmqpConnection, AmqpContext } from './rhea-client.ts'

export interface ConnectionListener {
  /** It is open: at first, or again. Links that were open attach themselves again. */
  opened(): void
  /** Nothing that was sent and not answered will be answered. */
  lost(reason: string): void
  /** It does not come back by itself. */
  over(error: HoldfastError): void
}

/**
 * Listens to a connection of the service. Without listeners of its errors, rhea throws them, or prints each byte that it
 * could not read.
 */
export class ConnectionWatch {
  readonly #connection: AmqpConnection
  readonly #listener: ConnectionListener
  readonly #handlers: Readonly<Record<string, (context: AmqpContext) => void>>
  /** Why it is not open, as far as anybody knows. */
  problem: string | undefined

  constructor(connection: AmqpConnection, listener: ConnectionListener) {
    this.#connection = connection
    this.#listener = listener
    this.#handlers = {
      connection_open: () => this.#opened(),
      connection_close: (context) => this.#closed(context.error ?? connection.error),
      disconnected: (context) => this.#disconnected(context),
      // Each is followed by one of those above.
      connection_error: (context) => this.#failed(context.error),
      protocol_error: (error) => this.#failed(error),
      error: (error) => this.#failed(error),
    }
    for (const [event, handler] of Object.entries(this.#handlers)) connection.on(event, handler)
  }

  dispose(): void {
    for (const [event, handler] of Object.entries(this.#handlers)) this.#connection.removeListener(event, handler)
  }

  #opened(): void {
    this.problem = undefined
    this.#listener.opened()
  }

  #failed(error: unknown): void {
    this.problem = reasonOf(error)
  }

  /** The broker closed it, or the service did. */
  #closed(error: unknown): void {
    this.problem = error === undefined ? 'it was closed' : reasonOf(error)
    this.#listener.lost(this.problem)
    if (error !== undefined && this.#connectsAgainAfter(error)) return
    this.#listener.over(unavailable(`the connection was closed: ${this.problem}`, error))
  }

  #connectsAgainAfter(error: unknown): boolean {
    if (this.#option('all_errors_non_fatal', false) === true) return true
    const nonFatal = this.#option('non_fatal_errors', ['amqp:connection:forced'])
    return Array.isArray(nonFatal) && nonFatal.includes(conditionOf(error))
  }

  #option(name: string, otherwise: unknown): unknown {
    return this.#connection.get_option(name, otherwise)
  }

  #disconnected({ reconnecting, error }: AmqpContext): void {
    if (error !== undefined) this.problem = reasonOf(error)
    this.problem ??= 'it was lost'
    this.#listener.lost(this.problem)
    if (reconnecting === true) return
    const hint =
      'rhea does not connect again; leave its option `reconnect` alone, and see whether the broker lets us in'
    this.#listener.over(unavailable(`the connection ended: ${this.problem}. ${hint}`, error))
  }
}
