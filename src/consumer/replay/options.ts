import type { Clock } from '../../core/clock.ts'
import { HoldfastError } from '../../core/errors.ts'
import { callback, clockKind, flag, having, objects, required, type Kinds } from '../../core/options.ts'
import type { Pipeline } from '../../core/pipeline.ts'

/** The first message of that time or later, or a position for each partition: `{ 'orders/0': 120 }`. */
export type ReplayPoint = Date | Readonly<Record<string, number>>

export interface ReplayOptions {
  /** The pipeline of the group's handler. Its `idempotency()` says how long keys are remembered. */
  readonly pipeline: Pipeline
  /** Where the group goes back to. Partitions that an object does not name stay where they are. */
  readonly from: ReplayPoint
  /** The end of the replay. @defaultValue where the group stands */
  readonly to?: ReplayPoint
  /**
   * In which scope `idempotency()` claims the keys of the replay. `'same'`: what is remembered is a duplicate, so only what was
   * never completed is handled. `{ own: name }`: every message is handled again, once for each name.
   */
  readonly scope: 'same' | { readonly own: string }
  /** Counts and checks, and moves nothing. @defaultValue false */
  readonly dryRun?: boolean
  /** Goes back past the oldest remembered key too: messages of the ordinary scope may be handled again. @defaultValue false */
  readonly runAgain?: boolean
  /**
   * Says when the oldest key that is remembered was completed, in ms since 1970; `undefined` where there is none:
   * `postgresOldestKey(pool)`. @defaultValue reckoned from `retainMs` of the pipeline alone
   */
  readonly oldestKeyMs?: (kept: { readonly scope: string; readonly retainMs: number }) => Promise<number | undefined>
  readonly clock?: Clock
}

export const replayKinds: Kinds<ReplayOptions> = {
  pipeline: required(having('step')),
  from: required(objects),
  to: objects,
  scope: required({
    wanted: "'same', or an object with the name of a scope: { own: 'after the outage' }",
    fits: (value) => value === 'same' || ownOf(value) !== undefined,
  }),
  dryRun: flag,
  runAgain: flag,
  oldestKeyMs: callback,
  clock: clockKind,
}

export function refused(message: string): HoldfastError {
  return new HoldfastError('bad-order', `replay: ${message}`)
}

export function ownOf(scope: unknown): string | undefined {
  if (typeof scope !== 'object' || scope === null) return undefined
  const own: unknown = Reflect.get(scope, 'own')
  return typeof own === 'string' && own !== '' ? own : undefined
}
