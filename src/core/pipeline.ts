import { batched, type BatchHandler, type BatchOptions } from './batch.ts'
import { bodyDecoder, defaultAttempts, type Decoder } from './codec.ts'
import {
  ensureHeld,
  type Delivery,
  type Incoming,
  type Outcome,
  type Place,
  type Stage,
  type Step,
  type Typed,
} from './delivery.ts'
import { describe, factsOf, refuseBadOrder, type Description } from './describe.ts'
import { emitter } from './events.ts'
import { headersFrom, type Bytes } from './message.ts'
import { badOption, callback, checkArgument, having, objects, text } from './options.ts'
import { neverAborts } from './signals.ts'

/** A finished pipeline, to be called by a transport, a framework or a test. */
export interface Pipeline<Body = Bytes> {
  readonly name: string
  /** For callers without a transport: handles one message and fills in defaults. A rejection is a nack: send the message again. */
  dispatch(incoming: Incoming<Body>): Promise<Outcome>
  /** For transports: handles one complete delivery. */
  readonly step: Step<Delivery<Body>>
  readonly stages: readonly Stage[]
  /** Describes the stack: its guarantee, its worst cases and its warnings. */
  describe(): Description
}

/** A `Middleware`, or a plain function of that shape. */
export type Fits<D, Adds> = Typed<D, Adds> & ((next: Step<D & Adds>, place?: Place) => Step<D>)

type Compose<Entry, Body, Added> = (
  inner: Step<Delivery<Body> & Added>,
  stages: readonly Stage[],
) => Step<Delivery<Entry>>

/** Builds a pipeline. `Entry` is the arriving body, `Body` the body at this point, `Added` what middlewares added so far. */
export interface PipelineBuilder<Entry, Body, Added> {
  /** Adds a middleware inside those added before: the first added is outermost. */
  use<Adds = unknown>(middleware: Fits<Delivery<Body> & Added, Adds>): PipelineBuilder<Entry, Body, Added & Adds>
  /** Decodes the body. Stages added later see the typed body; stages added before see the bytes. */
  decode<Out>(this: PipelineBuilder<Entry, Bytes, Added>, codec: Decoder<Out>): PipelineBuilder<Entry, Out, Added>
  /** Sets the handler and finishes the pipeline. A return value is ignored; a throw is a nack. */
  handle(handler: (delivery: Delivery<Body> & Added) => Promise<unknown> | void): Pipeline<Entry>
  /** Sets a handler of batches and finishes the pipeline. Each message keeps its own claim, retries and outcome. */
  handleBatch(options: BatchOptions, handler: BatchHandler<Delivery<Body> & Added>): Pipeline<Entry>
  /** @internal */
  readonly compose: Compose<Entry, Body, Added>
}

/** Starts a pipeline. Its name is the scope of its idempotency keys, and appears in every event, span and metric. */
export function pipeline<Body = Bytes>(name: string): PipelineBuilder<Body, Body, unknown> {
  checkArgument('pipeline', 'name', name, text)
  return builder<Body, Body, unknown>(name, [], (inner) => inner)
}

function builder<Entry, Body, Added>(
  name: string,
  stages: readonly Stage[],
  compose: Compose<Entry, Body, Added>,
): PipelineBuilder<Entry, Body, Added> {
  const at = stages.length
  return {
    compose,
    use<Adds>(middleware: Fits<Delivery<Body> & Added, Adds>) {
      checkArgument('use', 'middleware', middleware, callback)
      const stage = middleware.stage ?? { name: middleware.name || 'anonymous' }
      return builder<Entry, Body, Added & Adds>(name, [...stages, stage], (inner, all) => {
        const place = { pipeline: name, outside: all.slice(0, at), inside: all.slice(at + 1) }
        const step: Step<Delivery<Body> & Added> & { readonly stage?: Stage } = middleware(inner, place)
        // A factory that was not called takes the next step for its options: every message would be acked unseen.
        if (typeof step !== 'function' || step.stage !== undefined)
          throw badOption(name, `what ${stage.name} makes of a step`, 'a step: is its factory called?', step)
        return compose(guarded(step), all)
      })
    },
    decode<Out>(this: PipelineBuilder<Entry, Bytes, Added>, codec: Decoder<Out>) {
      checkArgument('decode', 'codec', codec, having('decode'))
      const outer = this.compose
      return builder<Entry, Out, Added>(name, [...stages, { name: 'decode' }], (inner, all) => {
        const decodeBody = bodyDecoder(codec, factsOf(all).maxAttempts ?? defaultAttempts)
        return outer(async function decode(delivery) {
          const body = await decodeBody(delivery)
          return inner({ ...delivery, message: { ...delivery.message, body } })
        }, all)
      })
    },
    handle(handler) {
      checkArgument('handle', 'handler', handler, callback)
      const step = guarded(function handle(delivery: Delivery<Body> & Added) {
        ensureHeld(delivery)
        return Promise.resolve(handler(delivery)).then(handled)
      })
      return finish(name, stages, (all) => compose(step, all))
    },
    handleBatch(options, handler) {
      const stage: Stage = {
        name: 'batch',
        notInside: { transaction: 'the handler is called once for many messages, each with a transaction of its own' },
      }
      const step = batched(options, handler)
      return finish(name, [...stages, stage], (all) => compose(step, all))
    },
  }
}

function finish<Entry>(
  name: string,
  stages: readonly Stage[],
  compose: (stages: readonly Stage[]) => Step<Delivery<Entry>>,
): Pipeline<Entry> {
  refuseBadOrder(name, stages)
  const step = observed(compose(stages))
  return {
    name,
    step,
    stages,
    dispatch: guarded((incoming) => step(deliveryOf(name, incoming))),
    describe: () => describe(name, stages),
  }
}

/** Callers without types leave out or misspell what the types demand. */
function deliveryOf<Entry>(name: string, incoming: Incoming<Entry>): Delivery<Entry> {
  checkArgument(`${name}.dispatch`, 'incoming', incoming, objects)
  const { message, origin, attempt = 1, first = false, signal = neverAborts, raw = null } = incoming
  checkArgument(`${name}.dispatch`, 'message', message, objects)
  const { id, body, type = name, key = null, headers = noHeaders, timeMs = Date.now() } = message
  checkArgument(`${name}.dispatch`, 'message.id', id, text)
  checkArgument(`${name}.dispatch`, 'message.headers', headers, objects)
  const plain = Object.getPrototypeOf(headers) === null
  return {
    message: { id, type, key, headers: plain ? headers : headersFrom(Object.entries(headers)), body, timeMs },
    bytes: body instanceof Uint8Array ? body : null,
    pipeline: name,
    origin: { system: 'direct', destination: name, partition: null, position: null, group: null, ...origin },
    attempt,
    first,
    signal,
    raw,
  }
}

const noHeaders = headersFrom([])

const handled = (): Outcome => 'handled'

const settled = emitter('settled')
const nacked = emitter('nacked')

/** Says how each delivery ended, where anybody listens. */
function observed<Entry>(step: Step<Delivery<Entry>>): Step<Delivery<Entry>> {
  return function deliver(delivery) {
    if (!settled.active() && !nacked.active()) return step(delivery)
    return step(delivery).then(
      (outcome) => {
        if (settled.active()) settled.publish({ delivery, outcome })
        return outcome
      },
      (error: unknown) => {
        if (nacked.active()) nacked.publish({ delivery, error })
        throw error
      },
    )
  }
}

/** A stage that throws before it returns a promise must still be a nack for the stages around it. */
function guarded<D>(step: Step<D>): Step<D> {
  return (delivery) => {
    try {
      return step(delivery)
    } catch (error) {
      return Promise.reject(error)
    }
  }
}
