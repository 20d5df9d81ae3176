import type { DiscoveryService } from '@nestjs/core'
import { HoldfastError } from '../core/errors.ts'
import { nearest } from '../core/nearest.ts'
import type { Pipeline } from '../core/pipeline.ts'
import { methodsOf, type AnyToken, type HandledPipeline, type HandlerMethod } from './handles.ts'

type Wrapper = ReturnType<DiscoveryService['getProviders']>[number]

interface Found extends HandlerMethod {
  readonly wrapper: Wrapper
}

/**
 * Finishes each pipeline with the method that handles it.
 * @throws HoldfastError (`bad-option`) for a pipeline without a handler or with two, and for a handler without a pipeline.
 */
export function finished(
  pipelines: readonly HandledPipeline[],
  discovery: Pick<DiscoveryService, 'getProviders' | 'getControllers'>,
): ReadonlyMap<AnyToken, Pipeline<never>> {
  const handlers = handlersIn([...discovery.getProviders(), ...discovery.getControllers()])
  const tokens = pipelines.map(({ token }) => token)
  for (const handler of handlers) if (!tokens.includes(handler.token)) throw withoutPipeline(handler, tokens)
  const built = new Map<AnyToken, Pipeline<never>>()
  for (const { token, finish } of pipelines) {
    if (built.has(token)) throw refused(`'${token.name}' is in pipelines twice`)
    const mine = handlers.filter((each) => each.token === token)
    const [handler, second] = mine
    if (handler === undefined)
      throw refused(`nothing handles '${token.name}': put @Handles() on a method of a provider, and list the provider`)
    if (second !== undefined)
      throw refused(`'${token.name}' has ${mine.length} handlers: ${mine.map(named).join(', ')}`)
    built.set(token, finish(methodOf(handler)))
  }
  return built
}

/** One for each instance and method: what is provided under two names is one. */
function handlersIn(wrappers: readonly Wrapper[]): readonly Found[] {
  const seen = new Set<unknown>()
  return wrappers.flatMap((wrapper) => {
    if (wrapper.isAlias) return []
    const isStatic = wrapper.isDependencyTreeStatic()
    const instance: unknown = isStatic ? wrapper.instance : undefined
    const methods = methodsOf(instance ?? wrapper.metatype?.prototype)
    const [first] = methods
    if (first === undefined) return []
    if (!isStatic)
      throw refused(
        `${named({ ...first, wrapper })} handles '${first.token.name}', but its provider is made anew for each request: give it the default scope`,
      )
    if (instance === undefined || instance === null || seen.has(instance)) return []
    seen.add(instance)
    return methods.map((method) => ({ ...method, wrapper }))
  })
}

/** Looked up at each call, as Nest does: a test may replace the method of an instance. */
function methodOf({ wrapper, method }: Found): (delivery: never) => Promise<unknown> | void {
  const instance = wrapper.instance as Record<string | symbol, (delivery: never) => Promise<unknown> | void>
  return (delivery) => instance[method]?.(delivery)
}

function withoutPipeline(handler: Found, tokens: readonly AnyToken[]): HoldfastError {
  const { name } = handler.token
  const names = tokens.map((token) => token.name)
  if (names.includes(name))
    return refused(`${named(handler)} handles another token named '${name}' than pipelines has: share one token`)
  const near = nearest(name, names)
  const hint = near === undefined ? `pipelines has ${names.join(', ') || 'none'}` : `did you mean '${near}'?`
  return refused(`${named(handler)} handles '${name}', which is not in pipelines: ${hint}`)
}

function named({ wrapper, method }: Found): string {
  return `${String(wrapper.metatype?.name ?? wrapper.name)}.${String(method)}`
}

function refused(why: string): HoldfastError {
  return new HoldfastError('bad-option', `HoldfastModule: ${why}`)
}
