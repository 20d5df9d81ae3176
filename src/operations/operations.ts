import { systemClock, type Clock } from '../core/clock.ts'
import { callback, checkOptions, clockKind, having, ms, required } from '../core/options.ts'
import type { Letter, LetterGroup, Redrive } from '../dead-letter/store.ts'
import type { OutboxStatus } from '../outbox/store.ts'
import { explanationOf, type Explanation } from './explain.ts'
import { maskValues, shownBody, type Mask } from './mask.ts'
import type { ClaimRecord, KeysBound, OperatorStore, ParkedLane } from './store.ts'

export interface OperationsOptions {
  readonly store: OperatorStore
  /** Removes from a body what must not be seen. @defaultValue the names and the shape of JSON stay, values go */
  readonly mask?: Mask
  /** How long counts are cached, in ms. @defaultValue 10_000 */
  readonly cacheMs?: number
  readonly clock?: Clock
}

/** The overview. */
export interface Overview {
  readonly takenMs: number
  readonly letters: number
  readonly groups: readonly LetterGroup[]
  /** Groups beyond those shown. */
  readonly moreGroups: boolean
  readonly redrives: readonly Redrive[]
  readonly outbox: OutboxStatus | undefined
  readonly staleKeys: readonly ClaimRecord[]
  /** Missing if all keys were looked at for `staleKeys`. */
  readonly keysBound?: KeysBound
  /** Parked keys that wait for an operator. */
  readonly blockedKeys: readonly ParkedLane[]
}

/** A letter to show. Its body is masked unless it was revealed. */
export interface ShownLetter {
  readonly letter: Omit<Letter, 'body'>
  readonly bodyBytes: number | null
  readonly body: string
  readonly revealed: boolean
}

export interface Operations {
  readonly store: OperatorStore
  /** Counts at most once every `cacheMs`. */
  overview(): Promise<Overview>
  /** `reveal` shows the whole body, and is written to the operator log. */
  show(letter: string, options?: { readonly reveal?: boolean; readonly by?: string }): Promise<ShownLetter | undefined>
  /** The body itself, for a download: revealed and logged. */
  body(letter: string, by: string): Promise<Uint8Array | null | undefined>
  explain(messageId: string): Promise<Explanation>
}

const mostGroups = 20

/** What the command line and the page both do. */
export function operations(options: OperationsOptions): Operations {
  const {
    store,
    mask = maskValues,
    cacheMs = 10_000,
    clock = systemClock,
  } = checkOptions('operations', options, {
    store: required(having('schema', 'outbox', 'keys', 'traces')),
    mask: callback,
    cacheMs: ms(0),
    clock: clockKind,
  })
  let taken: { readonly overview: Promise<Overview>; readonly untilMs: number } | undefined

  async function look(): Promise<Overview> {
    const [{ letters, groups }, redrives, outbox, staleKeys, blockedKeys, keysBound] = await Promise.all([
      store.letters.tally({}, mostGroups + 1),
      store.letters.redrives({ limit: 10 }),
      store.outbox(),
      store.keys({ limit: 20 }),
      store.parked?.({ blocked: true, limit: 20 }) ?? [],
      store.keysBound?.(),
    ])
    return {
      takenMs: clock.wall(),
      letters,
      groups: groups.slice(0, mostGroups),
      moreGroups: groups.length > mostGroups,
      redrives,
      outbox,
      staleKeys,
      blockedKeys,
      ...(keysBound !== undefined && { keysBound }),
    }
  }

  return {
    store,
    overview() {
      const nowMs = clock.now()
      if (taken === undefined || taken.untilMs <= nowMs) {
        const overview = look()
        taken = { overview, untilMs: nowMs + cacheMs }
        // A failure is nothing to remember.
        overview.catch(() => (taken = undefined))
      }
      return taken.overview
    },
    async show(id, { reveal = false, by = '' } = {}) {
      const found = await store.letters.letter(id)
      if (found === undefined) return undefined
      const { body, ...letter } = found
      if (reveal) await store.letters.note({ by, act: 'reveal', letter: letter.id })
      const shown = body === null || reveal ? shownBody(body) : mask(body)
      return { letter, bodyBytes: body?.length ?? null, body: shown, revealed: reveal }
    },
    async body(id, by) {
      const found = await store.letters.letter(id)
      if (found === undefined) return undefined
      await store.letters.note({ by, act: 'reveal', letter: found.id })
      return found.body
    },
    async explain(messageId) {
      return explanationOf(messageId, await store.traces(messageId))
    },
  }
}
