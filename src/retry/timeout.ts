import { systemClock, type Clock } from '../core/clock.ts'
import { staged, type Delivery, type Middleware, type Outcome } from '../core/delivery.ts'
import { AbandonedError, HoldfastError, isAbandoned, isPermanent, isRetryLater } from '../core/errors.ts'
import { emitter } from '../core/events.ts'
import { checkOptions, clockKind, ms, required } from '../core/options.ts'
import { timeline, TimedSignal } from '../core/timeline.ts'

export interface TimeoutOptions {
  /** Ms until the signal of an attempt aborts. */
  readonly afterMs: number
  /** Ms after that until a handler that still runs is given up. @defaultValue `afterMs` */
  readonly abandonAfterMs?: number
  readonly clock?: Clock
}

const abandoned = emitter('abandoned')

/**
 * Aborts the signal of an attempt that takes too long, then waits for the handler to end. So attempts of one message do not
 * overlap. Only a handler that ignores its signal is given up while it still runs.
 */
export function timeout(options: TimeoutOptions): Middleware {
  const {
    afterMs,
    abandonAfterMs = afterMs,
    clock = systemClock,
  } = checkOptions('timeout', options, { afterMs: required(ms()), abandonAfterMs: ms(), clock: clockKind })

  const deadlines = timeline<Attempt>(clock, afterMs, (attempt) => {
    attempt.timedOut = true
    graces.add(attempt)
    attempt.abort(timedOut(attempt.delivery, afterMs))
  })
  const graces = timeline<Attempt>(clock, abandonAfterMs, (attempt) => {
    const { delivery, work } = attempt
    const runMs = afterMs + abandonAfterMs
    if (abandoned.active()) abandoned.publish({ delivery, afterMs: runMs })
    attempt.giveUp(
      new AbandonedError(`message ${delivery.message.id} was given up after ${runMs} ms`, Promise.resolve(work)),
    )
  })

  const middleware: Middleware = (next) =>
    function timeout(delivery) {
      return new Promise((resolve, reject) => {
        const attempt = new Attempt(delivery, reject)
        const succeeded = (outcome: Outcome): void => {
          end(attempt)
          resolve(outcome)
        }
        const failed = (error: unknown): void => {
          end(attempt)
          reject(attempt.timedOut && !saysMore(error) ? timedOut(delivery, afterMs, error) : error)
        }
        deadlines.add(attempt)
        // Where the attempt was given up already, the promise is settled and the late end changes nothing.
        attempt.work = next({ ...delivery, signal: attempt.signal }).then(succeeded, failed)
      })
    }

  function end(attempt: Attempt): void {
    ;(attempt.timedOut ? graces : deadlines).remove(attempt)
    attempt.end()
  }

  return staged(middleware, {
    name: 'timeout',
    facts: { timeoutMs: afterMs, abandonAfterMs },
    wantsOutside: { retry: 'there is one deadline for each attempt' },
    excludes: {
      timeout: 'the shorter one decides, while the other still waits for the handler',
    },
  })
}

/** One run of everything inside, and its signal. */
class Attempt extends TimedSignal {
  readonly delivery: Delivery
  readonly giveUp: (error: AbandonedError) => void
  timedOut = false
  work: Promise<void> | undefined

  constructor(delivery: Delivery, giveUp: (error: AbandonedError) => void) {
    super(delivery.signal)
    this.delivery = delivery
    this.giveUp = giveUp
  }
}

/** An error that knows better than "too late" what is to happen next. */
function saysMore(error: unknown): boolean {
  return isPermanent(error) || isRetryLater(error) || isAbandoned(error)
}

function timedOut({ message }: Delivery, afterMs: number, cause?: unknown): HoldfastError {
  return new HoldfastError('timed-out', `message ${message.id} took longer than ${afterMs} ms`, { cause })
}
