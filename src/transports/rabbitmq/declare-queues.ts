import { checkOptions, count, oneOf, objects, required, text } from '../../core/options.ts'
import { queueArguments, type RabbitmqOrder } from './check-queues.ts'
import type { RabbitmqConnection } from './connection.ts'

export interface DeclareQueuesOptions {
  /** The direct exchange that publishers send to: `byKey(queues)` does. */
  readonly exchange: string
  /** Each group of consumers has queues of its own, and so gets every message. They must be there before the first message. */
  readonly group: string
  /** How many queues: the most members that can work at once, with `order: 'key'`. Another number later sends keys to other queues. */
  readonly queues: number
  /** @defaultValue `'key'` */
  readonly order?: RabbitmqOrder
  /** Arguments on top of ours, such as `x-max-length`. */
  readonly arguments?: Readonly<Record<string, unknown>>
}

/** The names of a group's queues: `<exchange>.<group>.<number>`. */
export function queueNames({
  exchange,
  group,
  queues,
}: Pick<DeclareQueuesOptions, 'exchange' | 'group' | 'queues'>): readonly string[] {
  return Array.from({ length: queues }, (_, number) => `${exchange}.${group}.${number}`)
}

/** Declares the queues of a group, bound to an exchange by their number, and gives their names. May be called again and again. */
export async function declareQueues(
  connection: Pick<RabbitmqConnection, 'createChannel'>,
  options: DeclareQueuesOptions,
): Promise<readonly string[]> {
  const {
    exchange,
    group,
    queues,
    order = 'key',
    arguments: more = {},
  } = checkOptions('declareQueues', options, {
    exchange: required(text),
    group: required(text),
    queues: required(count()),
    order: oneOf('key', 'none'),
    arguments: objects,
  })
  const names = queueNames({ exchange, group, queues })
  const channel = await connection.createChannel()
  // Without a listener, a refusal by the broker would end the process, and not only reject the call.
  channel.on('error', () => {})
  await channel.assertExchange(exchange, 'direct', { durable: true })
  for (const [number, name] of names.entries()) {
    await channel.assertQueue(name, { durable: true, arguments: { ...queueArguments(order), ...more } })
    await channel.bindQueue(name, exchange, String(number))
  }
  await channel.close()
  return names
}
