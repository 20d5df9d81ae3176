import type { Channel } from 'amqplib'
import { unavailable, reasonOf, replyCodeOf } from './errors.ts'

/** `key`: one consumer of a queue at a time, each key in order. `none`: queues shared by all, no order at all. */
export type RabbitmqOrder = 'key' | 'none'

export interface CheckedQueues {
  /** Worth knowing, for `health()`. */
  readonly notes: readonly string[]
  /** Ms after which the broker takes a message back, the shortest of all queues. */
  readonly consumerTimeoutMs: number
}

export interface QueueCheck {
  readonly queues: readonly string[]
  readonly order: RabbitmqOrder
  readonly open: () => Promise<Channel>
}

type Value = string | number | boolean
type Arguments = Record<string, Value>

const defaultConsumerTimeoutMs = 1_800_000
/** A queue's death of a consumer counts against every message that it had prefetched. */
export const deliveryLimit = 1_000_000
const leastDeliveryLimit = 100_000
// Each try learns one argument of the queue.
const mostTries = 30

/** The arguments with which queues are to be declared. */
export function queueArguments(order: RabbitmqOrder = 'key'): Readonly<Record<string, Value>> {
  return {
    'x-queue-type': 'quorum',
    'x-delivery-limit': deliveryLimit,
    ...(order === 'key' ? { 'x-single-active-consumer': true } : {}),
  }
}

/**
 * Declares queues that are there again. Where an argument differs, RabbitMQ says which: ours must be right, and what the
 * service added is taken as it is.
 * @throws HoldfastError (`unavailable`) for a queue that is missing, or that loses messages or their order.
 */
export async function checkQueues(check: QueueCheck): Promise<CheckedQueues> {
  const notes: string[] = []
  let consumerTimeoutMs = Infinity
  for (const queue of check.queues) {
    await mustExist(queue, check)
    const found = await argumentsOf(queue, check)
    if (found === undefined) {
      notes.push(`the arguments of queue ${queue} were not checked: this user may not declare queues`)
      continue
    }
    const timeoutMs = Number(found['x-consumer-timeout'] ?? defaultConsumerTimeoutMs)
    consumerTimeoutMs = Math.min(consumerTimeoutMs, timeoutMs)
  }
  return { notes, consumerTimeoutMs: Number.isFinite(consumerTimeoutMs) ? consumerTimeoutMs : defaultConsumerTimeoutMs }
}

async function mustExist(queue: string, { open }: QueueCheck): Promise<void> {
  const channel = await open()
  try {
    await channel.checkQueue(queue)
    await channel.close()
  } catch (error) {
    if (replyCodeOf(error) === 404)
      throw unavailable(`RabbitMQ has no queue ${queue}; declare it with declareQueues()`, error)
    throw unavailable(`queue ${queue} cannot be used: ${reasonOf(error)}`, error)
  }
}

/** What the queue was declared with, as far as RabbitMQ compares it; nothing where this user may not ask. */
async function argumentsOf(queue: string, { order, open }: QueueCheck): Promise<Arguments | undefined> {
  const wanted: Arguments = { ...queueArguments(order) }
  for (let tries = 0; tries < mostTries; tries++) {
    const channel = await open()
    try {
      await channel.assertQueue(queue, { durable: true, arguments: wanted })
      await channel.close()
      return wanted
    } catch (error) {
      if (replyCodeOf(error) === 403) return undefined
      const different = differenceIn(reasonOf(error))
      if (replyCodeOf(error) !== 406 || different === undefined)
        throw unavailable(`queue ${queue} cannot be used: ${reasonOf(error)}`, error)
      const { name, current } = different
      const fault = faultIn(name, current, versionOf(channel))
      if (fault !== undefined) throw unavailable(`queue ${queue} ${fault}`, error)
      if (current === undefined) Reflect.deleteProperty(wanted, name)
      else wanted[name] = current
    }
  }
  throw unavailable(`queue ${queue} has more than ${mostTries} arguments that differ from ours`)
}

/** Why a queue with this value is not to be consumed. */
function faultIn(name: string, current: Value | undefined, version: string): string | undefined {
  const is = `has ${name}: ${current ?? 'none'}`
  if (name === 'x-queue-type')
    return `${is}; it must be 'quorum', since others give messages back in another order or lose them with their node`
  if (name === 'x-single-active-consumer')
    return `${is}; it must be true, else the messages of a key are handled at once by several members. For a queue without any order, say order: 'none'`
  if (name === 'durable') return 'is not durable, so it is gone after a restart of RabbitMQ'
  if (name !== 'x-delivery-limit') return undefined
  // Before RabbitMQ 4 a queue without a limit has none.
  if (current === undefined && Number.parseInt(version, 10) < 4) return undefined
  if (typeof current === 'number' && current >= leastDeliveryLimit) return undefined
  return `${is}; it must be ${deliveryLimit}. Every death of a consumer counts for all that it had prefetched, and at the limit RabbitMQ throws them away${current === undefined ? '; without one, RabbitMQ 4 takes 20' : ''}`
}

/** `inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': received 'quorum' but current is 'classic'`. */
function differenceIn(reason: string): { readonly name: string; readonly current: Value | undefined } | undefined {
  const found = /inequivalent arg '([^']+)'[^]* but current is (.*)$/.exec(reason)
  if (found === null) return undefined
  const [, name = '', current = ''] = found
  if (current === 'none') return { name, current: undefined }
  const value = /'([^']*)'/.exec(current)?.[1] ?? current
  if (value === 'true' || value === 'false') return { name, current: value === 'true' }
  return { name, current: /^-?\d+$/.test(value) ? Number(value) : value }
}

function versionOf(channel: Channel): string {
  const { version } = channel.connection.serverProperties
  return typeof version === 'string' ? version : '0'
}
