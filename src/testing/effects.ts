import { badOption, requireFunctions } from '../core/options.ts'
import type { SimulatedProcess } from './world/process.ts'
import { scopes, type Scope } from './world/scope.ts'
import type { Simulation } from './world/task.ts'

/** Functions that change the world: they charge, mail, write. */
export type Effects = Readonly<Record<string, (...args: never[]) => unknown>>

/** The same functions as the handler gets them. Each call travels, is carried out, and its answer travels back. */
export type Travelling<E extends Effects> = {
  readonly [Name in keyof E]: (...args: Parameters<E[Name]>) => Promise<Awaited<ReturnType<E[Name]>>>
}

/** Makes functions travel: as effects, which the ledger counts, or as reads, which it does not. */
export type Travel = <F extends Effects>(functions: F, kind: 'effect' | 'read') => Travelling<F>

type AnyFunction = (...args: never[]) => unknown

const keys = new WeakMap<object, (...args: unknown[]) => unknown>()

/**
 * An effect whose target knows an idempotency key. The first call with a key is carried out. Later calls with that key get
 * its answer. `keyed(charge, (order, id) => id)`.
 * A key that is not a non-empty string ends the exploration with a TypeError: one key for all calls would hide every
 * duplicate.
 */
export function keyed<Args extends unknown[], Result>(
  effect: (...args: Args) => Result,
  keyOf: (...args: Args) => string,
): (...args: Args) => Result {
  requireFunctions('keyed', { effect, keyOf })
  const marked = (...args: Args): Result => effect(...args)
  keys.set(marked, (...args) => keyOf(...(args as Args)))
  return marked
}

export interface TravelOptions {
  readonly simulation: Simulation
  readonly process: SimulatedProcess
  /** Answers given for a key, by name and key; they are the target's and outlive every process. */
  readonly answers: Map<string, unknown>
  readonly onEffect: (messageId: string, what: string) => void
  /** A mistake in the test itself: the exploration ends with it. */
  readonly onMistake: (error: Error) => void
}

export function travel({ simulation, process, answers, onEffect, onMistake }: TravelOptions): Travel {
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

  function keyOf(name: string, effect: AnyFunction, args: readonly unknown[]): string | undefined {
    const key = keys.get(effect)?.(...args)
    if (!keys.has(effect) || (typeof key === 'string' && key !== '')) return key as string | undefined
    const error = badOption('keyed', `the key of ${name}`, 'a string that is not empty', key)
    onMistake(error)
    throw error
  }

  function travels(name: string, made: AnyFunction, isRead: boolean): (...args: never[]) => Promise<unknown> {
    return async (...args) => {
      const messageId = scopes.getStore()?.messageId ?? ''
      const what = nameOfCall(name)
      const key = keyOf(name, made, args)
      const known = key === undefined ? undefined : `${name} ${key}`
      let repeats = false
      const happened = (): void => {
        if (!isRead) onEffect(messageId, what)
      }
      const label = messageId === '' ? what : `${what} ${messageId}`
      return simulation.op(
        process,
        label,
        () => {
          repeats = known !== undefined && answers.has(known)
          if (known !== undefined && repeats) return answers.get(known)
          const result = made(...args)
          if (known !== undefined) answers.set(known, result)
          if (!(result instanceof Promise)) {
            happened()
            return result
          }
          return result.then((value: unknown) => {
            happened()
            return value
          })
        },
        { note: () => (repeats ? `, not done again: the key ${key} was used before` : '') },
      )
    }
  }

  return <F extends Effects>(functions: F, kind: 'effect' | 'read') => {
    const entries = Object.entries(functions).map(
      ([name, made]) => [name, travels(name, made, kind === 'read')] as const,
    )
    // Object.fromEntries forgets which name had which type.
    return Object.fromEntries(entries) as unknown as Travelling<F>
  }
}
