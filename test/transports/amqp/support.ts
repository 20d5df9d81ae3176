import rhea, { type Connection, type ConnectionOptions, type EventContext, type Message as RheaMessage } from 'rhea'
import type { Bytes, Message } from '../../../src/core/message.ts'
import { recordFrom, type AmqpRaw } from '../../../src/transports/amqp/codec.ts'
import { subscription } from '../../../src/transports/amqp/terminus.ts'
import { uniqueName } from '../../support/unique-name.ts'

export { until } from '../rabbitmq/support.ts'

/** Connections of one test, all closed after `dispose`. */
export interface TestAmqp {
  /** A connection that comes back by itself, through another address where one is given. */
  connect(url?: string, options?: Partial<ConnectionOptions>): Connection
  /** A queue of this test's own, made when somebody attaches. The prefix decides its settings. */
  queue(prefix?: string): string
  /** Reads what the queue has now, and leaves it there. */
  arrived(address: string): Promise<readonly Message<Bytes>[]>
  /** Sends without our publisher; resolves with the outcomes. */
  send(address: string, messages: readonly (RheaMessage | Buffer)[], capabilities?: string): Promise<readonly string[]>
  /** Makes a shared durable subscription, and leaves it alone. */
  subscribe(address: string, name: string): Promise<void>
  dispose(): Promise<void>
}

export function testAmqp(url: string): TestAmqp {
  const open = new Set<Connection>()

  function connect(through = url, options: Partial<ConnectionOptions> = {}): Connection {
    const { hostname, port } = new URL(through)
    const connection = rhea.create_container({ id: uniqueName('container') }).connect({
      ...{ host: hostname, port: Number(port), username: 'holdfast', password: 'holdfast', idle_time_out: 4_000 },
      ...{ initial_reconnect_delay: 50, max_reconnect_delay: 200 },
      ...options,
    })
    for (const event of ['disconnected', 'connection_error', 'connection_close', 'error', 'protocol_error'])
      connection.on(event, () => {})
    open.add(connection)
    return connection
  }

  return {
    connect,
    queue: (prefix = 'queue') => `${prefix}.${uniqueName('t')}`,
    async arrived(address) {
      const connection = connect()
      const all: Message<Bytes>[] = []
      let lastMs = performance.now()
      const receiver = connection.open_receiver({
        source: { address, capabilities: ['queue'], distribution_mode: 'copy' } as never,
        ...{ credit_window: 0, autoaccept: false },
      })
      receiver.on('receiver_error', () => {})
      receiver.on('receiver_close', () => {})
      receiver.on('message', ({ message, delivery }: EventContext) => {
        lastMs = performance.now()
        all.push(recordFrom({ message, delivery } as AmqpRaw, address, undefined).message)
        receiver.add_credit(1)
      })
      await new Promise((resolve) => receiver.once('receiver_open', resolve).once('receiver_close', resolve))
      receiver.add_credit(1000)
      lastMs = performance.now()
      while (performance.now() - lastMs < 150) await new Promise((resolve) => setTimeout(resolve, 20))
      connection.close()
      return all
    },
    async send(address, messages, capabilities = 'queue') {
      const connection = connect()
      const sender = connection.open_sender({ target: { address, capabilities: [capabilities] } as never })
      const outcomes: string[] = []
      for (const outcome of ['accepted', 'rejected', 'released']) sender.on(outcome, () => outcomes.push(outcome))
      await new Promise((resolve) => sender.once('sendable', resolve))
      for (const message of messages) {
        if (message instanceof Uint8Array) sender.send(message, undefined, 0)
        else sender.send({ durable: true, ...message })
      }
      while (outcomes.length < messages.length) await new Promise((resolve) => setTimeout(resolve, 5))
      connection.close()
      return outcomes
    },
    async subscribe(address, name) {
      const connection = connect()
      const { source, link } = subscription(address, name)
      const receiver = connection.open_receiver({ name: link, credit_window: 0, source } as never)
      await new Promise((resolve) => receiver.once('receiver_open', resolve))
      const gone = new Promise((resolve) => receiver.once('receiver_close', resolve))
      receiver.detach()
      await gone
      connection.close()
    },
    async dispose() {
      for (const connection of open) {
        const { set_reconnect: setReconnect } = connection as unknown as { set_reconnect(on: boolean): void }
        setReconnect.call(connection, false)
        connection.close()
      }
      await new Promise((resolve) => setTimeout(resolve, 20))
    },
  }
}
