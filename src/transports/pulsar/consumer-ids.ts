import { hostname } from 'node:os'

let last = 0

/** Never used before in this process. */
export function nextConsumerId(): number {
  return ++last
}

/** What an operator sees in the stats of a subscription. */
export function consumerName(consumerId: number): string {
  return `${hostname()}-${process.pid}-${consumerId}`
}
