import { serviceNames, type ServiceName } from '../plan.ts'
import { grouped } from '../terminal.ts'
import type { Invariant } from '../audit.ts'

/** What the ledger says about one service. */
export interface ServiceFigures {
  readonly effects: number
  /** Good orders and poison that it has not come to yet. */
  readonly waiting: number
  /** Orders without an effect or a letter, although a later order of the same customer has its effect. */
  readonly passedOver: number
  readonly doubled: number
  readonly outOfOrder: number
  /** Effects of orders that nobody placed, or that are poison. */
  readonly unexpected: number
  readonly poisonDead: number
  readonly goodDead: number
}

/** What the ledger says: who placed what, and what was done for it. No figure comes from holdfast. */
export interface Figures {
  readonly placed: number
  readonly poison: number
  readonly services: Readonly<Record<ServiceName, ServiceFigures>>
  readonly oldestWaitingMs: number | null
  readonly clicksCounted: number
}

export interface LiveAudit {
  readonly ok: boolean
  readonly lost: number
  readonly doubled: number
  readonly outOfOrder: number
  readonly waiting: number
  readonly invariants: readonly Invariant[]
}

/**
 * Judges the ledger. While the store is open, an order may be on its way: it counts as lost once it was passed over. When the
 * books are closed nothing is on its way any more, and all that is missing is lost.
 */
export function liveAuditOf(figures: Figures, clicksSent: number, { closed }: { readonly closed: boolean }): LiveAudit {
  const { placed, poison, services, clicksCounted } = figures
  const total = (field: keyof ServiceFigures) => serviceNames.reduce((sum, name) => sum + services[name][field], 0)
  const waiting = closed ? 0 : total('waiting')
  const lost = total('passedOver') + (closed ? total('waiting') : 0)
  const [doubled, outOfOrder] = [total('doubled'), total('outOfOrder')]
  const strangers = total('goodDead') + total('unexpected')
  const poisonDue = poison * serviceNames.length
  const clicksOff = closed ? clicksCounted !== clicksSent : clicksCounted > clicksSent
  const due = placed * serviceNames.length
  const happened = total('effects') - doubled - total('unexpected')
  const expected = (placed - poison) * serviceNames.length
  const invariants: readonly Invariant[] = [
    {
      name: 'lost',
      ok: lost === 0,
      found: `${grouped(lost)} of ${grouped(due)}: ${grouped(placed)} orders at each of ${serviceNames.length} services`,
    },
    { name: 'doubled', ok: doubled === 0, found: `${grouped(doubled)} of ${grouped(total('effects'))} effects` },
    {
      name: 'out of order',
      ok: outOfOrder === 0,
      found: `${grouped(outOfOrder)} behind a later order of their customer`,
    },
    {
      name: 'dead letters',
      ok: strangers === 0 && (!closed || total('poisonDead') === poisonDue),
      found: `${grouped(total('poisonDead'))} of ${grouped(poisonDue)} poison, ${grouped(strangers)} others`,
    },
    { name: 'clicks', ok: !clicksOff, found: `${grouped(clicksCounted)} counted of ${grouped(clicksSent)} sent` },
    {
      name: 'on their way',
      ok: true,
      found: `${grouped(waiting)}; ${grouped(happened)} of ${grouped(expected)} effects have happened`,
    },
  ]
  return { ok: invariants.every(({ ok }) => ok), lost, doubled, outOfOrder, waiting, invariants }
}
