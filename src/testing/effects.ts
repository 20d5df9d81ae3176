import type { SimulatedProcess } from './world/process.ts'
import { scopes, type Scope } from './world/scope.ts'
import type { Simulation } from './world/task.ts'

/** Functions that touch the world: they charge, mail, write. */
export type Effects = Readonly<Record<string, (...args: never[]) => unknown>>

/** The same functions as a handler gets them: every call travels, is carried out, and its answer travels. */
export type Travelling<E extends Effects> = {
  readonly [Name in keyof E]: (...args: Parameters<E[Name]>) => Promise<Awaited<ReturnType<E[Name]>>>
}

const keys = new WeakMap<object, (...args: unknown[]) => string>()

/**
 * An effect whose target knows an idempotency key: calls with one key happen once, and all get the same answer.
 * `keyed(charge, (order, id) => id)`.
 */
export function keyed<Args extends unknown[], Result>(
  effect: (...args: Args) => Result,
  keyOf: (...args: Args) => string,
): (...args: Args) => Result {
  const marked = (...args: Args): Result => effect(...args)
  keys.set(marked, (...args) => keyOf(...(args as Args)))
  return marked
}

export interface EffectsOptions<E extends Effects> {
  readonly effects: E
  readonly simulation: Simulation
  readonly process: SimulatedProcess
  /** Answers given for a key, by name and key; they are the target's and outlive every process. */
  readonly answers: Map<string, unknown>
  readonly onEffect: (messageId: string, what: string) => void
}

export function travelling<E extends Effects>({
  effects,
  simulation,
  process,
  answers,
  onEffect,
}: EffectsOptions<E>): Travelling<E> {
  const calls = new WeakMap<Scope, Map<string, number>>()

  /** The second call of one run is another effect than the first; the first of another run is the same. */
  function nameOfCall(name: string): string {
    const scope = scopes.getStore()
    if (scope === undefined) return name
    const counts = calls.get(scope) ?? new Map<string, number>()
    calls.set(scope, counts)
    const count = (counts.get(name) ?? 0) + 1
    counts.set(name, count)
    return count === 1 ? name : `${name} (call ${count})`
  }

  function travels(name: string, effect: (...args: never[]) => unknown): (...args: never[]) => Promise<unknown> {
    const keyOf = keys.get(effect)
    return async (...args) => {
      const messageId = scopes.getStore()?.messageId ?? ''
      const what = nameOfCall(name)
      const key = keyOf === undefined ? undefined : `${name} ${keyOf(...args)}`
      return simulation.op(process, messageId === '' ? what : `${what} ${messageId}`, () => {
        if (key !== undefined && answers.has(key)) return answers.get(key)
        const result = effect(...args)
        if (key !== undefined) answers.set(key, result)
        if (!(result instanceof Promise)) {
          onEffect(messageId, what)
          return result
        }
        return result.then((value: unknown) => {
          onEffect(messageId, what)
          return value
        })
      })
    }
  }

  const entries = Object.entries(effects).map(([name, effect]) => [name, travels(name, effect)] as const)
  // Object.fromEntries forgets which name had which type.
  return Object.fromEntries(entries) as unknown as Travelling<E>
}
