import { systemClock, type Clock } from '../core/clock.ts'
import type { Delivery } from '../core/delivery.ts'
import { textOf } from '../core/errors.ts'
import { emitter, subscribe } from '../core/events.ts'
import { checkOptions, clockKind, count, having, ms, oneOf, required } from '../core/options.ts'
import type { JournalEntry, OperatorStore } from './store.ts'

export interface JournalOptions {
  readonly store: Pick<OperatorStore, 'writeJournal' | 'cleanJournal'>
  /** `failures`: attempts that failed, nacks, duplicates, lost leases, dead letters. `all`: handled messages too. @defaultValue `'failures'` */
  readonly record?: 'failures' | 'all'
  /** How long entries are kept, in ms. @defaultValue 7 days */
  readonly retainMs?: number
  /** Ms to collect entries before they are written together. @defaultValue 250 */
  readonly flushMs?: number
  /** Most entries to keep while the store is slow. Further ones are dropped: no message waits for its journal. @defaultValue 20_000 */
  readonly maxBuffered?: number
  readonly clock?: Clock
}

export interface Journal {
  /** Number of entries that were dropped because the store was slow or down. */
  readonly dropped: number
  /** Stops listening, and writes the collected entries. */
  stop(): Promise<void>
}

const storeFailed = emitter('store-failed')
const largestBatch = 2000
const cleanEveryMs = 60_000

/** Records what happens to messages, for `explain`. It listens to events and never delays a message. */
export function journal(options: JournalOptions): Journal {
  const {
    store,
    record = 'failures',
    retainMs = 7 * 86_400_000,
    flushMs = 250,
    maxBuffered = 20_000,
    clock = systemClock,
  } = checkOptions('journal', options, {
    store: required(having('writeJournal', 'cleanJournal')),
    record: oneOf('failures', 'all'),
    retainMs: ms(),
    flushMs: ms(),
    maxBuffered: count(),
    clock: clockKind,
  })
  let entries: JournalEntry[] = []
  let dropped = 0
  let writing: Promise<void> | undefined
  let cancel: (() => void) | undefined
  let cleanAt = clock.now() + cleanEveryMs

  function add(what: string, { message, pipeline, attempt }: Delivery, detail: string | null = null): void {
    if (entries.length >= maxBuffered) {
      dropped++
      return
    }
    entries.push({ messageId: message.id, pipeline, what, attempt, atMs: clock.wall(), detail })
    if (cancel === undefined && writing === undefined) cancel = clock.after(flushMs, flush, true)
  }

  function flush(): void {
    cancel = undefined
    writing = write().finally(() => {
      writing = undefined
      if (entries.length > 0) cancel = clock.after(flushMs, flush, true)
    })
  }

  async function write(): Promise<void> {
    while (entries.length > 0) {
      const batch = entries.slice(0, largestBatch)
      entries = entries.slice(largestBatch)
      try {
        await store.writeJournal(batch)
        if (clock.now() >= cleanAt) {
          cleanAt = clock.now() + cleanEveryMs
          await store.cleanJournal(retainMs)
        }
      } catch (error) {
        dropped += batch.length
        if (storeFailed.active()) storeFailed.publish({ store: 'journal', operation: 'write', error })
      }
    }
  }

  const ends = [
    subscribe('attempt-failed', ({ delivery, error }) => add('attempt-failed', delivery, told(error))),
    subscribe('nacked', ({ delivery, error }) => add('nacked', delivery, told(error))),
    subscribe('duplicate-seen', ({ delivery }) => add('duplicate-seen', delivery)),
    subscribe('lease-lost', ({ delivery }) => add('lease-lost', delivery)),
    subscribe('dead-lettered', ({ delivery, error }) => add('dead-lettered', delivery, told(error))),
    ...(record === 'all' ? [subscribe('settled', ({ delivery, outcome }) => add(outcome, delivery))] : []),
  ]

  return {
    get dropped() {
      return dropped
    },
    async stop() {
      for (const end of ends) end()
      cancel?.()
      await writing
      await write()
    },
  }
}

function told(error: unknown): string {
  const { errorName, errorMessage } = textOf(error)
  return `${errorName}: ${errorMessage}`.slice(0, 300)
}
