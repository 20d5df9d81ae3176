import { setTimeout as sleep } from 'node:timers/promises'
import { seeded } from '../../../src/transports/memory/random.ts'
import type { Scenario } from '../scenario.ts'
import { dispatcher, messageIds } from '../../../test/support/dispatcher.ts'
import { openLedger } from '../../../test/support/ledger.ts'
import { workerPool } from '../../../test/support/worker-pool.ts'

const leaseMs = 600
const blockMs = 2 * leaseMs + 300

export const eventLoopBlock: Scenario = {
  name: 'event-loop-block',
  what: 'a handler blocks the event loop of its process for more than twice the lease, and another process takes over',
  promise: 'effects once, nothing lost; a process that wakes up too late is refused',
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
    /** As after a rebalance: while the first one stands still, the message goes to the other process. */
    async function deliverTwice(id: string): Promise<void> {
      const stuck = workers.deliver({ id, blockMs }).then(
        () => standing.add(id),
        () => standing.add(id),
      )
      while (!standing.has(id)) await sleep(10)
      let acked = false
      const others: Promise<void>[] = []
      while (!acked) {
        // Without waiting for the answer: it may have gone to the one that stands still.
        others.push(
          workers.deliver({ id }).then(
            () => void (acked = true),
            () => {},
          ),
        )
        await sleep(50)
      }
      await Promise.all([stuck, ...others])
      const atMs = wokeMs.get(id)
      if (atMs !== undefined) recoveryMs = Math.max(recoveryMs, performance.now() - atMs)
    }
    try {
      // One at a time: while all processes stand still nobody can take over.
      let turn: Promise<unknown> = Promise.resolve()
      const broker = dispatcher({
        ...{ ids, random, signal },
        deliver(id) {
          if (!blocked.delete(id)) return workers.deliver({ id })
          const mine = turn.then(() => deliverTwice(id))
          turn = mine
          return mine
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
