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
  /** Expects that a bare handler keeps the invariants under faults: `await expect(chargeCustomer).toBeResilient({ effects })`. */
  toBeResilient<Body, E extends Effects, R extends Effects = Record<never, never>>(
    options?: ExpectResilientOptions<Body, E, R>,
  ): Promise<void>
  /** Expects the same of the pipelines that a function builds: `await expect(buildOrders).toWithstand({ faults })`. */
  toWithstand<E extends Effects, R extends Effects = Record<never, never>>(
    options?: Omit<ExploreOptions<E, R>, 'pipeline'>,
  ): Promise<void>
}

declare module 'vitest' {
  interface Matchers<R extends void | Promise<void> = void | Promise<void>, T = unknown> extends ResilienceMatchers {
    // Both parameters are vitest's, and have to be named and used for the declarations to be one.
    readonly [subject]?: (received: T) => R
  }
}
declare const subject: unique symbol

/** How many schedules must fit into the time-out where the test names no number. */
const fewestSchedules = 100

/**
 * For `expect.extend(resilienceMatchers)`, once, in a set-up file.
 * Both matchers fit their search into the time-out of the test that calls them. They fail, and say so, where the
 * `seeds` that were asked for do not fit.
 */
export const resilienceMatchers: Parameters<ExpectStatic['extend']>[0] = {
  async toBeResilient(
    received: unknown,
    options: ExpectResilientOptions<unknown, Effects, Effects> = {},
  ): Promise<MatcherResult> {
    if (!isFunction(received)) return refused('toBeResilient', 'a handler')
    const budgetMs = options.budgetMs ?? searchMs(this.task)
    return judged(expectResilient(received, { name: nameOf(received), ...options, budgetMs }), options, budgetMs)
  },
  async toWithstand(
    received: unknown,
    options: Omit<ExploreOptions<Effects, Effects>, 'pipeline'> = {},
  ): Promise<MatcherResult> {
    if (!isFunction(received)) return refused('toWithstand', 'a function that builds a pipeline')
    const budgetMs = options.budgetMs ?? searchMs(this.task)
    return judged(explore({ ...options, budgetMs, pipeline: received }), options, budgetMs)
  },
}

/** What a matcher reads of the test that it is called in. */
interface RunningTest {
  readonly timeout: number
  readonly result?: { readonly startTime?: number | undefined } | undefined
}

/** The share of the test's remaining time that the search gets. Shrinking takes half of it again. */
function searchMs(test: RunningTest | undefined): number {
  if (test === undefined || test.timeout <= 0) return Infinity
  const nowMs = performance.timeOrigin + performance.now()
  const elapsedMs = nowMs - (test.result?.startTime ?? nowMs)
  return Math.max(1, 0.6 * (test.timeout - elapsedMs))
}

type Asked = Pick<ExploreOptions, 'seeds' | 'budgetMs' | 'replay'>

async function judged(work: Promise<Explored>, asked: Asked, budgetMs: number): Promise<MatcherResult> {
  try {
    const { schedules } = await work
    const wanted = asked.seeds ?? fewestSchedules
    // The run without any fault is one more. A budget that the test names itself may be short.
    if (asked.replay === undefined && asked.budgetMs === undefined && schedules <= wanted)
      throw new RangeError(
        `only ${schedules - 1} of ${wanted} schedules fit into ${Math.round(budgetMs)} ms, this test's share of its ` +
          'time-out: give the test more time, or ask for fewer seeds',
      )
    return { pass: true, message: () => `expected a schedule that hurts it; none of ${schedules} did` }
  } catch (error) {
    // Anything else is a mistake in the test, with `not` too.
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
