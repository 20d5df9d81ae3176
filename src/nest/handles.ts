import type { Delivery } from '../core/delivery.ts'
import { HoldfastError } from '../core/errors.ts'
import type { Bytes } from '../core/message.ts'
import { checkArgument, having, text } from '../core/options.ts'
import type { Pipeline, PipelineBuilder } from '../core/pipeline.ts'

/** Names a pipeline whose handler is a method of a provider, and says what that method gets. */
export interface PipelineToken<Handled = Delivery, Entry = Bytes> {
  readonly name: string
  /** Never set: it only carries the two types. */
  readonly types?: ((delivery: Handled) => Entry) | undefined
}

/** A token of which only the identity and the name count. */
export type AnyToken = PipelineToken<never, unknown>

/** The handler of a pipeline as a method. */
type Method<Handled> = (delivery: Handled) => Promise<unknown> | void

/** What `@Handles()` may stand on: a method that takes what the pipeline gives. */
export type HandlesDecorator<Handled> = <M extends Method<Handled>>(
  prototype: object,
  method: string | symbol,
  descriptor: TypedPropertyDescriptor<M>,
) => void

/** A pipeline that waits for its handler. */
export interface HandledPipeline {
  readonly token: AnyToken
  /** @internal */
  readonly finish: (handler: Method<never>) => Pipeline<never>
}

/** @throws HoldfastError (`bad-option`) */
export function pipelineToken<Handled = Delivery, Entry = Bytes>(name: string): PipelineToken<Handled, Entry> {
  checkArgument('pipelineToken', 'name', name, text)
  return { name }
}

/** Joins a stack with the method that handles its messages: the one with `@Handles(token)`. */
export function handledBy<Entry, Body, Added>(
  token: PipelineToken<NoInfer<Delivery<Body> & Added>, Entry>,
  builder: PipelineBuilder<Entry, Body, Added>,
): HandledPipeline {
  checkToken('handledBy', token)
  checkArgument('handledBy', 'builder', builder, having('use', 'handle'))
  return { token, finish: (handler) => builder.handle((delivery) => handler(delivery as never)) }
}

// By prototype and name, not by function: a decorator above this one may put another function in its place.
const handled = new WeakMap<object, Map<string | symbol, AnyToken>>()

/**
 * Makes a method of a provider, or of a controller, the handler of a pipeline. The provider lives as long as the
 * application: a scope of its own for each request is refused when the application starts.
 */
export function Handles<Handled, Entry>(token: PipelineToken<Handled, Entry>): HandlesDecorator<Handled> {
  checkToken('Handles', token)
  return function handles(prototype, method) {
    if (typeof prototype === 'function')
      throw new HoldfastError(
        'bad-option',
        `Handles('${token.name}'): ${prototype.name}.${String(method)} is static; only a method of an instance can handle`,
      )
    const methods = handled.get(prototype) ?? new Map<string | symbol, AnyToken>()
    handled.set(prototype, methods.set(method, token))
  }
}

export interface HandlerMethod {
  readonly token: AnyToken
  readonly method: string | symbol
}

/** The methods with `@Handles()` of a class, those that it inherits included. */
export function methodsOf(prototype: unknown): readonly HandlerMethod[] {
  const found = new Map<string | symbol, HandlerMethod>()
  for (let each = prototype; typeof each === 'object' && each !== null; each = Object.getPrototypeOf(each))
    for (const [method, token] of handled.get(each) ?? []) if (!found.has(method)) found.set(method, { token, method })
  return [...found.values()]
}

function checkToken(where: string, token: unknown): void {
  if (typeof token === 'object' && token !== null && typeof Reflect.get(token, 'name') === 'string') return
  throw new HoldfastError('bad-option', `${where}: token must be made by pipelineToken(), got ${typeof token}`)
}
