import type { Outcome } from '../../core/delivery.ts'

export interface SentMessage {
  readonly id: string
  readonly key: string
  /** Its place among all that were sent, first copies counted. */
  readonly index: number
}

/** One thing that happened and counts. */
export interface LedgerEntry {
  readonly kind:
    | 'sent'
    /** The handler was started. */
    | 'started'
    /** Something happened that the world can see: a call of one of `effects`, or a committed statement. */
    | 'effect'
    /** The handler returned and all it did is committed. */
    | 'completed'
    /** The handler returned or threw. */
    | 'ended'
    /** The broker was told that the message is done with. */
    | 'acked'
    | 'dead-lettered'
  readonly atMs: number
  /** The process: `A`, after a crash `A′`. */
  readonly by: string
  readonly group: string
  readonly messageId: string
  /** The effect's name. */
  readonly what: string
  /** How often this has happened now, for this message and group. */
  readonly times: number
  /** Whether the delivery's signal had aborted. */
  readonly aborted: boolean
  /** Another process that runs the handler for this message now, and has no excuse. */
  readonly besides: string | null
  /** For how long its lease was over although its process never stood still. */
  readonly pastLeaseMs: number
}

/** What became of one message in one group. */
export interface Fate {
  readonly message: SentMessage
  readonly group: string
  readonly starts: number
  /** How often each effect happened. */
  readonly effects: ReadonlyMap<string, number>
  readonly completed: boolean
  readonly deadLettered: boolean
  readonly acked: boolean
  /** How the last delivery that returned ended. */
  readonly outcome: Outcome | null
}

/** Everything that happened in one run, for invariants to look at. */
export interface Ledger {
  readonly entries: readonly LedgerEntry[]
  readonly sent: readonly SentMessage[]
  readonly groups: readonly string[]
  /** How many faults have struck so far. */
  readonly faults: number
  fate(messageId: string, group?: string): Fate | undefined
  fates(): readonly Fate[]
  /** Messages of the group that the broker still holds. */
  remaining(group: string): number
}

export type Noted = Pick<LedgerEntry, 'kind' | 'by' | 'group' | 'messageId'> & Partial<LedgerEntry>

export interface WritableLedger extends Ledger {
  note(entry: Noted): LedgerEntry
  send(id: string, key: string): SentMessage
  settle(messageId: string, group: string, outcome: Outcome): void
}

export interface LedgerOptions {
  readonly groups: readonly string[]
  readonly nowMs: () => number
  readonly faults: () => number
  readonly remaining: (group: string) => number
}

interface WritableFate extends Fate {
  starts: number
  readonly effects: Map<string, number>
  completed: boolean
  deadLettered: boolean
  acked: boolean
  outcome: Outcome | null
}

export function ledger({ groups, nowMs, faults, remaining }: LedgerOptions): WritableLedger {
  const entries: LedgerEntry[] = []
  const sent: SentMessage[] = []
  const fates = new Map<string, WritableFate>()
  const find = (id: string, group: string): WritableFate | undefined => fates.get(`${group}/${id}`)

  function count(entry: Noted): number {
    const fate = find(entry.messageId, entry.group)
    if (fate === undefined) return 1
    switch (entry.kind) {
      case 'started':
        return ++fate.starts
      case 'effect': {
        const what = entry.what ?? ''
        const times = (fate.effects.get(what) ?? 0) + 1
        fate.effects.set(what, times)
        return times
      }
      case 'completed':
        fate.completed = true
        return 1
      case 'dead-lettered':
        fate.deadLettered = true
        return 1
      case 'acked':
        fate.acked = true
        return 1
      case 'sent':
      case 'ended':
        return 1
    }
  }

  return {
    entries,
    sent,
    groups,
    get faults() {
      return faults()
    },
    fate: (messageId, group = groups[0] ?? '') => find(messageId, group),
    fates: () => [...fates.values()],
    remaining,
    note(noted) {
      const times = count(noted)
      const plain = { what: '', aborted: false, besides: null, pastLeaseMs: 0 }
      const entry = { ...plain, ...noted, times, atMs: nowMs() }
      entries.push(entry)
      return entry
    },
    send(id, key) {
      const message = { id, key, index: sent.length }
      sent.push(message)
      for (const group of groups)
        fates.set(`${group}/${id}`, {
          message,
          group,
          starts: 0,
          effects: new Map(),
          completed: false,
          deadLettered: false,
          acked: false,
          outcome: null,
        })
      return message
    },
    settle(messageId, group, outcome) {
      const fate = find(messageId, group)
      if (fate !== undefined) fate.outcome = outcome
    },
  }
}
