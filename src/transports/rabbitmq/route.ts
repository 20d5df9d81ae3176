import { requireCount, requireFunctions } from '../../core/options.ts'
import type { Outgoing } from '../../core/publisher.ts'
import { numberOfKey } from '../number-of-key.ts'

/** Where AMQP is told to bring a message. */
export interface RabbitmqPlace {
  /** `''`: the default exchange, which brings it to the queue that is named like the routing key. */
  readonly exchange: string
  readonly routingKey: string
}

export type RabbitmqRoute = (message: Outgoing) => RabbitmqPlace

/** To the queue that is named like the destination. */
export const toQueue: RabbitmqRoute = ({ destination }) => ({ exchange: '', routingKey: destination })

/**
 * To the direct exchange that is named like the destination, with the number of one of its queues as routing key: all
 * messages of a key to one queue, those without a key in turn. `declareQueues()` makes such an exchange.
 *
 * @param queues how many queues stand behind the exchange; another number sends keys to other queues.
 */
export function byKey(queues: number | ((destination: string) => number)): RabbitmqRoute {
  if (typeof queues === 'number') requireCount('byKey', { queues })
  else requireFunctions('byKey', { queues })
  let turn = 0
  return function byKey({ destination, key }) {
    const count = typeof queues === 'number' ? queues : queues(destination)
    const number = key === null ? turn++ % count : numberOfKey(key, count)
    return { exchange: destination, routingKey: String(number) }
  }
}
