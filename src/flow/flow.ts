import { AsyncLocalStorage } from 'node:async_hooks'
import { staged, type Delivery, type Middleware } from '../core/delivery.ts'
import { HoldfastError, PermanentError } from '../core/errors.ts'
import { headerText, withHeaders, type Message } from '../core/message.ts'
import { checkOptions, count, oneOf, text } from '../core/options.ts'
import type { Outgoing, Publish } from '../core/publisher.ts'
import { correlationOf, flowHeaders, hopsOf } from './headers.ts'
import type { Replayed } from './replay.ts'

/** The message that a handler works on, as what it publishes needs to know it. */
interface Cause {
  readonly message: Message
  readonly hops: number
  readonly correlationId: string
  readonly service: string
  readonly replayed: boolean
}

const causes = new AsyncLocalStorage<Cause>()

export interface FlowOptions {
  /** The name of this service in the `producer` header. @defaultValue the name of the pipeline */
  readonly service?: string
  /** How many messages in a row may cause one another. @defaultValue 16 */
  readonly maxHops?: number
}

/**
 * Remembers the message that a handler works on, so that {@link caused} can write it into what the handler publishes.
 * A message with more than `maxHops` messages before it is given up: services that answer each other would go on for ever.
 * The hops are a header, which a producer can forge. So this guards against accidents, not against attackers.
 * It does not work with `handleBatch`, where one call of the handler has many causes.
 * @throws HoldfastError (`bad-option`, `bad-order`)
 */
export function flow(options: FlowOptions = {}): Middleware<unknown, Delivery & Partial<Replayed>> {
  const { service, maxHops = 16 } = checkOptions('flow', options, { service: text, maxHops: count() })
  const middleware: Middleware<unknown, Delivery & Partial<Replayed>> = (next, place) => {
    if (place?.inside.some(({ name }) => name === 'batch') === true)
      throw new HoldfastError(
        'bad-order',
        `${place.pipeline}: flow cannot stand outside handleBatch: one call of its handler has many causes`,
      )
    return async function flow(delivery) {
      const { message, pipeline, replay = false } = delivery
      const [hops, correlationId] = [hopsOf(message), correlationOf(message)]
      if (hops > maxHops)
        throw new PermanentError(
          `${hops} messages have caused one another (correlation-id '${correlationId}'): find the services that answer each other, or raise maxHops`,
        )
      const cause = { message, hops, correlationId, service: service ?? pipeline, replayed: Boolean(replay) }
      return causes.run(cause, next, delivery)
    }
  }
  return staged(middleware, { name: 'flow', excludes: { flow: 'each would claim the messages of the other' } })
}

export interface CausedOptions {
  /** The `producer` of messages that no handler publishes, such as those of a web request. @defaultValue no such header */
  readonly service?: string
  /**
   * What happens to messages that a handler publishes while {@link replay} is on: they are refused, or published again.
   * @defaultValue `'refuse'`
   */
  readonly whenReplayed?: 'refuse' | 'publish'
}

/**
 * Writes the cause into the headers of what is published: `correlation-id`, `causation-id`, `hops` and `producer`. Inside a
 * handler under {@link flow} the cause is the handled message. Elsewhere a message that has these headers keeps them, and a
 * message without them begins a chain. Use it on publishers and as the `through` of an outbox.
 * @throws PermanentError when a handler publishes in a replay, unless `whenReplayed` is `'publish'`.
 */
export function caused(options: CausedOptions = {}): <Body>(next: Publish<Body>) => Publish<Body> {
  const { service, whenReplayed = 'refuse' } = checkOptions('caused', options, {
    service: text,
    whenReplayed: oneOf('refuse', 'publish'),
  })
  return (next) =>
    async function caused(messages, publishOptions) {
      const cause = causes.getStore()
      if (cause?.replayed === true && whenReplayed === 'refuse')
        throw new PermanentError(
          `the handler of ${cause.message.id} publishes in a replay: leave it out where delivery.replay is true`,
        )
      await next(
        messages.map((message) => (cause === undefined ? begun(message, service) : withCause(message, cause))),
        publishOptions,
      )
    }
}

/** A handler may have copied the headers of its own message, so these are always written anew. */
function withCause<Body>(
  message: Outgoing<Body>,
  { message: { id }, correlationId, hops, service }: Cause,
): Outgoing<Body> {
  const more = {
    [flowHeaders.correlation]: correlationId,
    [flowHeaders.causation]: id,
    [flowHeaders.hops]: String(hops + 1),
    [flowHeaders.producer]: service,
  }
  return { ...message, headers: withHeaders(message.headers, more) }
}

function begun<Body>(message: Outgoing<Body>, service: string | undefined): Outgoing<Body> {
  if (headerText(message.headers, flowHeaders.hops) !== undefined) return message
  const more = {
    [flowHeaders.correlation]: correlationOf(message),
    [flowHeaders.hops]: '0',
    ...(service !== undefined && { [flowHeaders.producer]: service }),
  }
  return { ...message, headers: withHeaders(message.headers, more) }
}
