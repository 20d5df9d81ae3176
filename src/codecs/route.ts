import { bodyDecoder, type Decoder } from '../core/codec.ts'
import type { Delivery } from '../core/delivery.ts'
import { judge, PermanentError } from '../core/errors.ts'
import type { Bytes } from '../core/message.ts'
import { callback, checkArgument, checkOptions, having, objects } from '../core/options.ts'

export type Handler<D> = (delivery: D) => Promise<unknown> | void

export interface RouteOptions<D> {
  /** Handles types that are not in the table. @defaultValue messages of other types are undecodable for good */
  readonly otherwise?: Handler<D>
}

/** Handles several message types of one topic, each with its own codec: `.handle(route({ 'order.placed': on(json(Placed), …) }))`. */
export function route<D extends Delivery<Bytes>>(
  table: Readonly<Record<string, Handler<D>>>,
  options: RouteOptions<D> = {},
): (delivery: D) => Promise<void> {
  checkArgument('route', 'table', table, objects)
  for (const [type, handler] of Object.entries(table)) checkArgument('route', type, handler, callback)
  const { otherwise = refuse } = checkOptions('route', options, { otherwise: callback })
  const handlers = new Map(Object.entries(table))
  return async function route(delivery) {
    await (handlers.get(delivery.message.type) ?? otherwise)(delivery)
  }
}

/** One row of a {@link route} table: decodes the body, then calls the handler. */
export function on<Body, D extends Delivery<Bytes>>(
  codec: Pick<Decoder<Body>, 'decode'>,
  handler: (delivery: Omit<D, 'message'> & Delivery<Body>) => Promise<unknown> | void,
): (delivery: D) => Promise<void> {
  checkArgument('on', 'codec', codec, having('decode'))
  checkArgument('on', 'handler', handler, callback)
  // Every error that is about the message passes: this is inside retry(), which counts and waits.
  const decodeBody = bodyDecoder(codec, 1)
  return async function on(delivery) {
    const body = await decodeBody(delivery)
    await handler({ ...delivery, message: { ...delivery.message, body } })
  }
}

function refuse(delivery: Delivery): never {
  const { id, type } = delivery.message
  const error = new PermanentError(`no route for the type '${type.slice(0, 80)}'`)
  judge(error, { messageId: id, attempts: 0, reason: 'undecodable' })
  throw error
}
