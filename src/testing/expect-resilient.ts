import type { Decoder } from '../core/codec.ts'
import type { Delivery } from '../core/delivery.ts'
import { pipeline } from '../core/pipeline.ts'
import type { Effects, Travelling } from './effects.ts'
import { explore, type Explored, type ExploreOptions } from './explorer/explore.ts'

export interface ExpectResilientOptions<Body, E extends Effects> extends Omit<ExploreOptions<E>, 'pipeline' | 'body'> {
  /** The body of the message with that number, from 1. @defaultValue its number and id */
  readonly body?: (number: number) => Body
  /** Reads the bodies. @defaultValue JSON as it is */
  readonly codec?: Decoder<Body>
}

/**
 * Tries a bare handler: what does it do when messages come twice, late or out of order, and when processes die?
 * `await expectResilient(chargeCustomer, { effects: { charge } })`. For a handler inside a pipeline, {@link explore}.
 * @throws ResilienceError with the shortest schedule that hurts it.
 */
export function expectResilient<Body, E extends Effects = Record<never, never>>(
  handler: (delivery: Delivery<Body>, effects: Travelling<E>) => Promise<unknown> | void,
  { codec = plainJson<Body>(), ...options }: ExpectResilientOptions<Body, E> = {},
): Promise<Explored> {
  const name = options.name ?? (handler.name === '' ? 'handler' : handler.name)
  return explore<E>({
    ...options,
    name,
    pipeline: (kit) =>
      pipeline(name)
        .decode(codec)
        .handle(kit.handler((delivery: Delivery<Body>) => handler(delivery, kit.effects))),
  })
}

function plainJson<Body>(): Decoder<Body> {
  return {
    name: 'json',
    // What arrives was written from a `Body` by this kit.
    decode: (bytes) => JSON.parse(new TextDecoder().decode(bytes ?? new Uint8Array())) as Body,
  }
}
