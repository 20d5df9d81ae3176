import { breaks } from '../outbox/breaks.ts'
import { chaos } from '../outbox/run.ts'
import type { Scenario } from '../scenario.ts'

export const outbox: Scenario = {
  name: 'outbox',
  what: 'writers of every kind; relays killed and stopped past their leases; PostgreSQL restarted',
  promise: 'nothing lost, nothing invented, every key in order; repeats are counted',
  needs: [],
  breaks,
  async run({ seed, full, broken, say }) {
    const { committed, lost, duplicates, outOfOrder, phantom, stale, counts } = await chaos({
      ...{ messages: full ? 100_000 : 15_000, seed, planted: broken, brokers: null, say },
    })
    return {
      injected: {
        'kill -9': counts['kills'] ?? 0,
        SIGSTOP: counts['pauses'] ?? 0,
        'rolled back': counts['rolledBack'] ?? 0,
        'prepared transactions': counts['prepared'] ?? 0,
        'repeatable read': counts['repeatable'] ?? 0,
        'database restarts': counts['restarts'] ?? 0,
      },
      ...{ messages: committed, lost, doubled: duplicates, outOfOrder, recoveryMs: null },
      allowed: { doubled: 'counted' },
      violations: phantom > 0 ? [`${phantom} published whose transaction did not commit`] : [],
      notes: `${stale} of the repeats came after a later message of their key`,
    }
  },
}
