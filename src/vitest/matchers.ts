import type { ExpectStatic } from 'vitest'
import { expectResilient, type ExpectResilientOptions } from '../testing/expect-resilient.ts'
import { explore, ResilienceError, type Explored, type ExploreOptions } from '../testing/explorer/explore.ts'
import type { Effects } from '../testing/effects.ts'

/** What a matcher answers. */
export interface MatcherResult {
  readonly pass: boolean
  readonly message: () => string
}

/** What `expect` learns. Both matchers are asynchronous: await them. */
export interface ResilienceMatchers {
  /** A bare handler does the right thing whatever goes wrong: `await expect(chargeCustomer).toBeResilient({ effects })`. */
  toBeResilient<Body, E extends Effects>(options?: ExpectResilientOptions<Body, E>): Promise<void>
  /** A function that builds a pipeline builds one that does: `await expect(buildOrders).toWithstand({ faults })`. */
  toWithstand<E extends Effects>(options?: Omit<ExploreOptions<E>, 'pipeline'>): Promise<void>
}

declare module 'vitest' {
  interface Matchers<R extends void | Promise<void> = void | Promise<void>, T = unknown> extends ResilienceMatchers {
    // Both parameters are vitest's, and have to be named and used for the declarations to be one.
    readonly [subject]?: (received: T) => R
  }
}
declare const subject: unique symbol

/** For `expect.extend(resilienceMatchers)`, once, in a set-up file. */
export const resilienceMatchers: Parameters<ExpectStatic['extend']>[0] = {
  async toBeResilient(
    received: unknown,
    options: ExpectResilientOptions<unknown, Effects> = {},
  ): Promise<MatcherResult> {
    if (!isFunction(received)) return refused('toBeResilient', 'a handler')
    return judged(expectResilient(received, { name: nameOf(received), ...options }))
  },
  async toWithstand(received: unknown, options: Omit<ExploreOptions, 'pipeline'> = {}): Promise<MatcherResult> {
    if (!isFunction(received)) return refused('toWithstand', 'a function that builds a pipeline')
    return judged(explore({ ...options, pipeline: received }))
  },
}

async function judged(work: Promise<Explored>): Promise<MatcherResult> {
  try {
    const { schedules } = await work
    return { pass: true, message: () => `expected a schedule that hurts it; none of ${schedules} did` }
  } catch (error) {
    // Anything else is a mistake in the test, whichever way round it asks.
    if (!(error instanceof ResilienceError)) throw error
    return { pass: false, message: () => error.message }
  }
}

function refused(matcher: string, wanted: string): MatcherResult {
  throw new TypeError(`expect(…).${matcher}() takes ${wanted}`)
}

// What it takes and gives is checked where it is called.
function isFunction(value: unknown): value is (...args: unknown[]) => never {
  return typeof value === 'function'
}

function nameOf(handler: { readonly name: string }): string {
  return handler.name === '' ? 'handler' : handler.name
}
