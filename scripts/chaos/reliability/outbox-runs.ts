import { breaks } from '../outbox/breaks.ts'
import { chaos, type ChaosLedger, type ChaosOptions } from '../outbox/run.ts'
import type { Report, RunHow, Scenario } from '../scenario.ts'

const promise = 'nothing lost, nothing invented, nothing given up, every key in order; repeats are counted'

export async function outboxRun(
  { seed, full, broken, say, minutes, signal }: RunHow,
  injected: (ledger: ChaosLedger) => Report['injected'],
  options: Partial<ChaosOptions> = {},
): Promise<Report> {
  const messages = (options.messages ?? 5_000) * (full ? 20 : 1) * Math.max(1, minutes)
  const leastFaults = options.only === undefined ? 5 : Math.min(options.only.length, 1)
  const ledger = await chaos({ seed, planted: broken, brokers: null, say, signal, leastFaults, ...options, messages })
  const { committed, lost, duplicates, outOfOrder, phantom, stale, dead, recoveryMs } = ledger
  return {
    injected: injected(ledger),
    ...{ messages: committed, lost, doubled: duplicates, outOfOrder },
    recoveryMs: recoveryMs > 0 ? recoveryMs : null,
    allowed: { doubled: 'counted' },
    violations: [
      ...(phantom > 0 ? [`${phantom} published whose transaction did not commit`] : []),
      ...(dead > 0 ? [`${dead} given up as poison`] : []),
    ],
    notes: `${stale} of the repeats came after a later message of their key`,
  }
}

const count = ({ counts }: ChaosLedger, name: string): number => counts[name] ?? NaN

export const outbox: Scenario = {
  name: 'outbox',
  what: 'writers of every kind; relays killed and stopped past their leases; PostgreSQL restarted',
  promise,
  needs: [],
  breaks,
  run: (how) =>
    outboxRun(
      how,
      (ledger) => ({
        'kill -9': count(ledger, 'kills'),
        SIGSTOP: count(ledger, 'pauses'),
        'rolled back': count(ledger, 'rolledBack'),
        'prepared transactions': count(ledger, 'prepared'),
        'database restarts': count(ledger, 'restarts'),
      }),
      { messages: 10_000, killEveryMs: 2500 },
    ),
}

export const relayStopped: Scenario = {
  name: 'relay-sigstop',
  what: 'one of three relays is stopped (SIGSTOP) for longer than its lease, again and again; it wakes up as a zombie in the middle of a batch',
  promise,
  needs: [],
  breaks: { 'no-epoch': breaks['no-epoch'] },
  run: (how) =>
    outboxRun(how, (ledger) => ({ SIGSTOP: count(ledger, 'pauses') }), { only: ['pause'], killEveryMs: 800 }),
}

export const relaysKilled: Scenario = {
  name: 'relays-killed',
  what: 'all three relays are killed with -9 at once, again and again, in the middle of their windows',
  promise,
  needs: [],
  breaks: { 'naive-cursor': breaks['naive-cursor'], 'reopen-window': breaks['reopen-window'] },
  run: (how) =>
    outboxRun(how, (ledger) => ({ 'kill -9': count(ledger, 'kills') }), { only: ['kill-all'], killEveryMs: 2500 }),
}

export const rotationRepeatableRead: Scenario = {
  name: 'rotation-repeatable-read',
  what: 'partitions are truncated every second under writers with long transactions, 9 in 10 of them REPEATABLE READ',
  promise,
  needs: [],
  breaks: { 'no-guard': breaks['no-guard'] },
  run: (how) =>
    outboxRun(
      how,
      (ledger) => ({
        'partitions truncated': count(ledger, 'cleaned'),
        'repeatable read': count(ledger, 'repeatable'),
        'long transactions': count(ledger, 'long'),
      }),
      { only: [], repeatableShare: 0.9 },
    ),
}
