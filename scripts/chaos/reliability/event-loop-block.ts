import { setTimeout as sleep } from 'node:timers/promises'
import { seeded } from '../../../src/transports/memory/random.ts'
import type { Scenario } from '../scenario.ts'
import { dispatcher, messageIds } from '../support/dispatcher.ts'
import { openLedger } from '../support/ledger.ts'
import { workerPool } from '../support/worker-pool.ts'

const leaseMs = 600
const blockMs = 2 * leaseMs + 300

export const eventLoopBlock: Scenario = {
  name: 'event-loop-block',
  what: 'a handler blocks the event loop of its process for more than twice the lease, and another process takes over',
  promise: 'effects once, nothing lost; whoever wakes up too late is refused',
  needs: ['postgres'],
  breaks: { 'token-check': 'the completion ignores that another claim has taken over' },
  async run({ seed, full, broken, url, say, signal }) {
    const random = seeded(seed)
    const ids = messageIds(full ? 20_000 : 1_500)
    const blocked = new Set(Array.from({ length: full ? 200 : 10 }, () => ids[Math.floor(random() * ids.length)]))
    const injected = { 'event loop blocked': 0, 'late completions refused': 0 }
    const standing = new Set<string>()
    const wokeMs = new Map<string, number>()
    let recoveryMs = 0
    const ledger = await openLedger(url('postgres'))
    const workers = workerPool({
      size: 3,
      random,
      settings: { url: url('postgres'), schema: ledger.schema, leaseMs, broken },
      heard(what, { id }) {
        if (what === 'blocks') {
          injected['event loop blocked']++
          standing.add(id)
        }
        if (what === 'wakes') wokeMs.set(id, performance.now())
        if (what === 'refused') injected['late completions refused']++
        if (what !== 'wakes') say(what)
      },
    })
    try {
      const broker = dispatcher({
        ...{ ids, random, signal },
        async deliver(id) {
          if (!blocked.delete(id)) return workers.deliver({ id })
          const stuck = workers.deliver({ id, blockMs }).finally(() => standing.add(id))
          // As after a rebalance: while the first one stands still, the message goes to whoever asks for it.
          const others = async () => {
            while (!standing.has(id)) await sleep(10)
            for (;;) {
              const outcome = await workers.deliver({ id }).catch(() => undefined)
              if (outcome !== undefined) return outcome
              await sleep(50)
            }
          }
          const outcomes = await Promise.allSettled([stuck, others()])
          const atMs = wokeMs.get(id)
          if (atMs !== undefined) recoveryMs = Math.max(recoveryMs, performance.now() - atMs)
          return outcomes
        },
      })
      await broker.done
      return {
        ...(await ledger.count(ids)),
        injected,
        outOfOrder: null,
        recoveryMs,
        notes: `leases of ${leaseMs} ms, blocked for ${blockMs} ms`,
      }
    } finally {
      await workers.dispose()
      await ledger.dispose()
    }
  },
}
