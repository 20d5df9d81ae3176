import type { Outcome } from '../core/delivery.ts'
import { subscribe } from '../core/events.ts'
import { checkArgument, checkOptions, ms, text } from '../core/options.ts'
import { textOf } from '../core/errors.ts'

export interface WatchDeliveriesOptions {
  /** Looks at one pipeline alone. @defaultValue all pipelines of this process */
  readonly pipeline?: string
  /** How long `outcomeOf` waits, in ms. @defaultValue 5,000 */
  readonly timeoutMs?: number
}

/** What happened to one message so far. */
export interface Watched {
  /** How it was acked, in order. More than one where it came more than once. */
  readonly outcomes: readonly Outcome[]
  /** With what it was nacked, in order. */
  readonly errors: readonly unknown[]
}

export interface DeliveryWatch {
  /**
   * Resolves with the outcome of a message as soon as it is acked, or at once if it was. So a test needs no sleep.
   * @throws Error after `timeoutMs`. It says how the message was nacked, or that it never came.
   */
  outcomeOf(messageId: string): Promise<Outcome>
  /** What happened to a message so far. Empty lists if it did not come. */
  of(messageId: string): Watched
  /** Stops watching. `outcomeOf` calls that still wait reject. */
  stop(): void
}

interface Kept {
  readonly outcomes: Outcome[]
  readonly errors: unknown[]
}

/** Watches from now on how the messages of this process end, for tests that wait for one of them. */
export function watchDeliveries(options: WatchDeliveriesOptions = {}): DeliveryWatch {
  const { pipeline, timeoutMs = 5000 } = checkOptions('watchDeliveries', options, { pipeline: text, timeoutMs: ms() })
  const kept = new Map<string, Kept>()
  const waiting = new Set<() => void>()

  function keep(messageId: string, of: string, note: (found: Kept) => void): void {
    if (pipeline !== undefined && pipeline !== of) return
    const found = kept.get(messageId) ?? { outcomes: [], errors: [] }
    kept.set(messageId, found)
    note(found)
    for (const look of waiting) look()
  }
  const ends = [
    subscribe('settled', ({ delivery: { message, pipeline: of }, outcome }) =>
      keep(message.id, of, ({ outcomes }) => outcomes.push(outcome)),
    ),
    subscribe('nacked', ({ delivery: { message, pipeline: of }, error }) =>
      keep(message.id, of, ({ errors }) => errors.push(error)),
    ),
  ]
  let stopped = false

  return {
    of(messageId) {
      const { outcomes, errors } = kept.get(messageId) ?? { outcomes: [], errors: [] }
      return { outcomes: [...outcomes], errors: [...errors] }
    },
    outcomeOf(messageId) {
      checkArgument('outcomeOf', 'messageId', messageId, text)
      return new Promise((resolve, reject) => {
        const look = (): void => {
          const [outcome] = kept.get(messageId)?.outcomes ?? []
          if (outcome !== undefined) end(() => resolve(outcome))
          else if (stopped) end(() => reject(new Error(`stopped while waiting for ${messageId}: ${story(messageId)}`)))
        }
        const timer = setTimeout(
          () => end(() => reject(new Error(`no outcome of ${messageId} within ${timeoutMs} ms: ${story(messageId)}`))),
          timeoutMs,
        )
        function end(answer: () => void): void {
          clearTimeout(timer)
          waiting.delete(look)
          answer()
        }
        waiting.add(look)
        look()
      })
    },
    stop() {
      stopped = true
      for (const end of ends) end()
      for (const look of [...waiting]) look()
    },
  }

  function story(messageId: string): string {
    const errors = kept.get(messageId)?.errors ?? []
    if (errors.length === 0) return kept.size === 0 ? 'no message came' : 'it did not come, others did'
    const last = textOf(errors.at(-1))
    return `nacked ${errors.length} times, last with ${last.errorName}: ${last.errorMessage}`
  }
}
