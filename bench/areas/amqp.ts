import { pipeline } from 'holdfast'
import { amqpConsumer, amqpPublisher, queue } from 'holdfast/amqp'
import rhea, { type Connection, type ConnectionOptions, type EventContext } from 'rhea'
import { up } from '../../scripts/services/manager.ts'
import { serviceNamed } from '../../scripts/services/table.ts'
import type { Row } from '../measure.ts'
import {
  bodyBytes,
  brokerRows,
  consumed,
  countdown,
  fillWith,
  publishedMessages,
  wait,
  type Consume,
  type Pair,
} from './brokers.ts'

const pairs: readonly Pair<Connection>[] = [
  {
    name: 'handler does nothing',
    beside: 'rhea, which accepts on arrival',
    target: { speed: 0.6 },
    handlerMs: 0,
    ours: 20_000,
    raw: { consume: rawOnArrival, messages: 20_000 },
  },
  {
    name: 'handler of 5 ms, 1,000 keys, 64 in flight',
    beside: 'rhea, one at a time',
    target: { speed: 45 },
    handlerMs: 5,
    ours: 10_000,
    raw: { consume: rawInTurn, messages: 300 },
  },
]

/** A queue of Artemis consumed to its end, and filled, beside rhea alone. */
export async function* amqpArea(rounds: number): AsyncIterable<Row> {
  const { url } = await up(serviceNamed('artemis'), (line) => console.error(line))
  const connection = connectTo(url)
  yield* brokerRows(rounds, {
    ...{ area: 'amqp', bench: connection, pairs, ours },
    inPlace: (use) => use(`bench.${process.pid}.${count++}`),
    fill: (address, messages) => fillWith(amqpPublisher(connection), address, messages),
    publishing: {
      name: 'publish 200 bytes, 1,000 keys, 500 a call',
      beside: 'rhea, all at once, without keys',
      raw: (address) => fillRaw(connection, address),
    },
  })
  connection.close()
}

function connectTo(url: string): Connection {
  const { hostname, port } = new URL(url)
  const options = { host: hostname, port: Number(port), username: 'bench', password: 'bench', idle_time_out: 10_000 }
  const connection = rhea.create_container().connect(options as ConnectionOptions)
  connection.on('disconnected', () => {})
  return connection
}

let count = 0

/** As many at once as the broker gives credit for. */
async function fillRaw(connection: Connection, address: string): Promise<void> {
  const sender = connection.open_sender({ target: { address, capabilities: ['queue'] } as never })
  const { promise: done, resolve } = Promise.withResolvers<undefined>()
  const body = rhea.message.data_section(Buffer.alloc(bodyBytes))
  let [sent, accepted] = [0, 0]
  const send = (): void => {
    while (sent < publishedMessages && sender.sendable())
      sender.send({ durable: true, message_id: `m${sent++}`, body } as never)
  }
  sender.on('sendable', send)
  sender.on('accepted', () => {
    if (++accepted === publishedMessages) resolve(undefined)
    else send()
  })
  await done
  sender.close()
}

const ours: Consume<Connection> = (connection, address, messages, handlerMs) => {
  const counted = countdown(messages, handlerMs)
  const consumer = amqpConsumer({
    ...{ connection, sources: [queue(address)], pipeline: pipeline('bench').handle(counted.work), window: 512 },
    // The other side does not look at its address either.
    checkAddresses: false,
  })
  return consumed(consumer, counted, messages)
}

/** Nothing waits for a handler: what dies with the process is lost. */
function rawOnArrival(connection: Connection, address: string, messages: number): Promise<number> {
  return raw(connection, address, messages, { credit_window: 500, autoaccept: true }, (_, handled) => handled())
}

/** Each after the other is done: the only way to keep order without lanes. */
function rawInTurn(connection: Connection, address: string, messages: number, handlerMs: number): Promise<number> {
  // With a window of its own, rhea asks for the next message when one arrives, not when it is done.
  return raw(connection, address, messages, { credit_window: 0, autoaccept: false }, (context, handled) => {
    void wait(handlerMs).then(() => {
      context.delivery?.accept()
      context.receiver?.add_credit(1)
      handled()
    })
  })
}

async function raw(
  connection: Connection,
  address: string,
  messages: number,
  options: { readonly credit_window: number; readonly autoaccept: boolean },
  handle: (context: EventContext, handled: () => void) => void,
): Promise<number> {
  const { promise: done, resolve } = Promise.withResolvers<undefined>()
  let left = messages
  let startMs: number | undefined
  const source = { address, capabilities: ['queue'] }
  const receiver = connection.open_receiver({ source, ...options } as never)
  receiver.on('message', (context: EventContext) => {
    startMs ??= performance.now()
    handle(context, () => {
      if (--left === 0) resolve(undefined)
    })
  })
  if (options.credit_window === 0) receiver.add_credit(1)
  await done
  const ms = performance.now() - (startMs ?? NaN)
  receiver.close()
  return (ms * 1e6) / messages
}
