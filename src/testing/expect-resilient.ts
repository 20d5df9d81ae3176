import type { Decoder } from '../core/codec.ts'
import type { Delivery } from '../core/delivery.ts'
import { pipeline } from '../core/pipeline.ts'
import type { Effects, Travelling } from './effects.ts'
import { explore, type Explored, type ExploreOptions } from './explorer/explore.ts'

export interface ExpectResilientOptions<Body, E extends Effects, R extends Effects = Record<never, never>> extends Omit<
  ExploreOptions<E, R>,
  'pipeline' | 'body'
> {
  /**
   * The body of the message with that number, counted from 1: bytes, or anything that JSON can write.
   * @defaultValue `{ id: 'm1', number: 1 }`
   */
  readonly body?: (number: number) => Body | Uint8Array
  /** Reads the bytes before the handler sees them. @defaultValue none: the handler gets a copy of what `body` returned */
  readonly codec?: Decoder<Body>
}

/**
 * Tries a bare handler: what does it do when messages come twice, late or out of order, and when processes die?
 * `await expectResilient(chargeCustomer, { effects: { charge } })`. The handler gets `effects` and `reads` in one object.
 * For a handler inside a pipeline use {@link explore}; bodies reach it in the same form.
 * @throws ResilienceError with the shortest schedule that breaks an invariant.
 */
export function expectResilient<
  Body,
  E extends Effects = Record<never, never>,
  R extends Effects = Record<never, never>,
>(
  handler: (delivery: Delivery<Body>, calls: Travelling<E> & Travelling<R>) => Promise<unknown> | void,
  { codec, ...options }: ExpectResilientOptions<Body, E, R> = {},
): Promise<Explored> {
  const name = options.name ?? (handler.name === '' ? 'handler' : handler.name)
  return explore<E, R>({
    ...options,
    name,
    pipeline({ handler: watched, effects, reads }) {
      const calls = { ...reads, ...effects }
      const wrapped = watched((delivery: Delivery<Body>) => handler(delivery, calls))
      return codec === undefined ? pipeline<Body>(name).handle(wrapped) : pipeline(name).decode(codec).handle(wrapped)
    },
  })
}
