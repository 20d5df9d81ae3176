import { badOption } from '../../core/options.ts'
import type { Fate, Ledger, LedgerEntry } from './ledger.ts'

/** Something that must hold under every fault. */
export interface Invariant {
  readonly name: string
  /** Looks at each entry as it is written. What it returns is what is wrong. */
  readonly onEntry?: (entry: LedgerEntry, ledger: Ledger) => string | undefined
  /** Looks at everything when nothing is left to do. */
  readonly atEnd?: (ledger: Ledger) => string | undefined
}

/** Those that come with the kit. */
export type InvariantName =
  /** Every message takes effect or ends in the dead letter. */
  | 'no-loss'
  /** No effect happens twice for one message. */
  | 'once'
  /** Messages of one key take effect in the order in which they were sent. */
  | 'key-order'
  /** The handler is not started again and again without a reason. */
  | 'bounded-attempts'
  /** Nothing is acked that has neither taken effect nor been dead-lettered. */
  | 'acked-settled'
  /** In the end nothing is left to do. */
  | 'drained'
  /** No message both takes effect and is dead-lettered. */
  | 'one-fate'
  /** A handler that runs, and was never held up, still holds its lease. */
  | 'live-lease'
  /** No handler is started for a delivery whose signal has aborted. */
  | 'no-start-after-abort'
  /** No two processes run the handler for one message at a time. */
  | 'one-at-a-time'

const attemptsPerReason = 5

const known: Readonly<Record<InvariantName, Omit<Invariant, 'name'>>> = {
  'no-loss': {
    atEnd: (ledger) =>
      firstOf(ledger, (fate) =>
        fate.completed || fate.deadLettered
          ? undefined
          : `${fate.message.id} was sent, and in the end it has neither taken effect nor been dead-lettered`,
      ),
  },
  once: {
    onEntry: ({ kind, times, messageId, what }) =>
      kind === 'effect' && times > 1 ? `${messageId} took effect ${timesInWords(times)}: ${what}` : undefined,
  },
  'key-order': {
    onEntry(entry, ledger) {
      const mine = ledger.fate(entry.messageId, entry.group)
      if (entry.kind !== 'effect' || entry.times > 1 || mine === undefined || mine.effects.size > 1) return undefined
      const later = ledger
        .fates()
        .find(
          ({ message, group, effects }) =>
            group === mine.group &&
            message.key === mine.message.key &&
            message.index > mine.message.index &&
            effects.size > 0,
        )
      if (later === undefined) return undefined
      return `${entry.messageId} took effect after ${later.message.id}, which was sent later with the same key (${mine.message.key})`
    },
  },
  'bounded-attempts': {
    onEntry: ({ kind, times, messageId }, { faults }) =>
      kind === 'started' && times > attemptsPerReason * (2 + faults)
        ? `the handler was started ${times} times for ${messageId}, with ${faults} faults so far`
        : undefined,
  },
  'acked-settled': {
    onEntry({ kind, messageId, group, by }, ledger) {
      const fate = ledger.fate(messageId, group)
      if (kind !== 'acked' || fate === undefined || fate.completed || fate.deadLettered) return undefined
      return `${by} acked ${messageId}, which has neither taken effect nor been dead-lettered`
    },
  },
  drained: {
    atEnd(ledger) {
      const stuck = ledger.groups.find((group) => ledger.remaining(group) > 0)
      if (stuck === undefined) return undefined
      return `nothing can go on, and ${counted(ledger.remaining(stuck), 'message')} of ${stuck} is not acked`
    },
  },
  'one-fate': {
    onEntry({ kind, messageId, group }, ledger) {
      const fate = ledger.fate(messageId, group)
      if (fate === undefined || !fate.deadLettered || fate.effects.size === 0) return undefined
      if (kind === 'dead-lettered') return `${messageId} was dead-lettered after it took effect`
      return kind === 'effect' ? `${messageId} took effect after it was dead-lettered` : undefined
    },
  },
  'live-lease': {
    onEntry: ({ pastLeaseMs, by, messageId }) =>
      pastLeaseMs > 0
        ? `${by} works on ${messageId} ${Math.ceil(pastLeaseMs / 1000)} s past its lease, although it never stood still`
        : undefined,
  },
  'no-start-after-abort': {
    onEntry: ({ kind, aborted, by, messageId }) =>
      kind === 'started' && aborted ? `${by} starts ${messageId} although its signal has aborted` : undefined,
  },
  'one-at-a-time': {
    onEntry: ({ kind, besides, by, messageId }) =>
      kind === 'started' && besides !== null
        ? `${by} starts ${messageId} while ${besides}, which never stood still, works on it`
        : undefined,
  },
}

/** Names of the invariants that come with the kit. */
export const allInvariants: readonly InvariantName[] = Object.keys(known).filter(isKnown)

/**
 * An invariant of your own. `check` says what is wrong, or nothing; it is asked when a run is over, or after
 * everything that happens (`when: 'always'`).
 */
export function invariant(
  name: string,
  check: (ledger: Ledger) => string | undefined,
  { when = 'end' }: { readonly when?: 'end' | 'always' } = {},
): Invariant {
  return when === 'end' ? { name, atEnd: check } : { name, onEntry: (_, ledger) => check(ledger), atEnd: check }
}

export function invariantsFrom(where: string, given: readonly (InvariantName | Invariant)[]): readonly Invariant[] {
  return given.map((one) => {
    if (typeof one !== 'string') return one
    if (!isKnown(one)) throw badOption(where, 'invariants', `made of invariant(…) and ${allInvariants.join(', ')}`, one)
    return { name: one, ...known[one] }
  })
}

function isKnown(name: string): name is InvariantName {
  return Object.hasOwn(known, name)
}

function firstOf(ledger: Ledger, check: (fate: Fate) => string | undefined): string | undefined {
  for (const fate of ledger.fates()) {
    const wrong = check(fate)
    if (wrong !== undefined) return ledger.groups.length > 1 ? `${wrong} in ${fate.group}` : wrong
  }
  return undefined
}

function timesInWords(times: number): string {
  return times === 2 ? 'twice' : `${times} times`
}

export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`
}
