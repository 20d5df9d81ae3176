import { setTimeout as sleep } from 'node:timers/promises'
import { systemClock } from '../../../src/core/clock.ts'
import type { TransactionalIdempotencyStore } from '../../../src/idempotency/store.ts'
import { seeded } from '../../../src/transports/memory/random.ts'
import type { Scenario } from '../scenario.ts'
import { dispatcher, messageIds } from '../../../test/support/dispatcher.ts'
import { openLedger } from '../../../test/support/ledger.ts'
import { workload } from '../../../test/support/workload.ts'

const leaseMs = 500

/** The clock of a machine that was put to sleep: no time passes, so nothing is renewed and no deadline comes. */
const stopped = { ...systemClock, now: () => 0, after: () => () => {} }

export const leaseExpiry: Scenario = {
  name: 'lease-expiry',
  what: 'a handler outlives its lease unnoticed, since the clock of its process stands still; another owner takes over and finishes first',
  promise: "effects once, nothing lost; the late owner's completion is refused and rolled back",
  needs: ['postgres'],
  breaks: { 'token-check': 'the completion ignores that another claim has taken over' },
  async run({ seed, full, broken, url, signal }) {
    const random = seeded(seed)
    const ids = messageIds(full ? 10_000 : 1_500)
    const late = new Set(ids.filter(() => random() < (full ? 0.1 : 0.03)))
    const held = new Map<string, PromiseWithResolvers<void>>()
    const injected = { 'leases outlived': 0, 'late completions refused': 0 }
    let recoveryMs = 0
    const ledger = await openLedger(url('postgres'))
    const shared = { url: url('postgres'), schema: ledger.schema, leaseMs, broken }
    const counted = (store: TransactionalIdempotencyStore): TransactionalIdempotencyStore => ({
      ...store,
      async completeIn(tx, claim, retainMs) {
        const answer = await store.completeIn(tx, claim, retainMs)
        if (answer === 'lost') injected['late completions refused']++
        return answer
      },
    })
    const sleeper = workload({
      ...shared,
      clock: stopped,
      around: counted,
      async handler({ message, tx }) {
        await ledger.effect(tx, message.id)
        injected['leases outlived']++
        const holding = Promise.withResolvers<void>()
        held.set(message.id, holding)
        await holding.promise
      },
    })
    const owner = workload({
      ...shared,
      handler: async ({ message, tx }) => void (await ledger.effect(tx, message.id)),
    })

    async function overtaken(id: string): Promise<void> {
      const zombie = sleeper.deliver(id)
      while (!held.has(id)) await sleep(5)
      await sleep(leaseMs)
      const endedMs = performance.now()
      while ((await owner.deliver(id).catch(() => undefined)) === undefined) await sleep(20)
      recoveryMs = Math.max(recoveryMs, performance.now() - endedMs)
      held.get(id)?.resolve()
      await zombie.catch(() => {})
    }

    try {
      const broker = dispatcher({
        ...{ ids, random, signal },
        deliver: (id) => (late.delete(id) ? overtaken(id) : owner.deliver(id)),
      })
      await broker.done
      const count = await ledger.count(ids)
      return { ...count, injected, outOfOrder: null, recoveryMs, notes: `leases of ${leaseMs} ms` }
    } finally {
      for (const { resolve } of held.values()) resolve()
      await Promise.all([sleeper.dispose(), owner.dispose()])
      await ledger.dispose()
    }
  },
}
