import { seeded } from '../../../src/transports/memory/random.ts'
import type { Scenario } from '../scenario.ts'
import { dispatcher, messageIds } from '../../../test/support/dispatcher.ts'
import { openLedger } from '../../../test/support/ledger.ts'
import { steps, type Step } from '../../../test/support/steps.ts'
import { workerPool } from '../../../test/support/worker-pool.ts'

export const killedAtEachStep: Scenario = {
  name: 'killed-at-each-step',
  what: 'a consumer process is killed with -9 before the claim, after it, in the handler, before COMMIT, at COMMIT, and between COMMIT and ack',
  promise: 'effects once, nothing lost',
  needs: ['postgres'],
  breaks: { 'early-key': 'the key is recorded before the handler succeeded' },
  async run({ seed, full, broken, url, say, signal }) {
    const random = seeded(seed)
    const ids = messageIds(full ? 20_000 : 2_000)
    const each = full ? 50 : 5
    const plan = new Map<string, Step>()
    for (const step of steps)
      for (let n = 0; n < each; n++) plan.set(ids[Math.floor(random() * ids.length)] ?? '', step)
    const injected = Object.fromEntries(steps.map((step) => [`kill -9 ${step}`, 0]))
    const killedMs = new Map<string, number>()
    let recoveryMs = 0
    const ledger = await openLedger(url('postgres'))
    const workers = workerPool({
      size: 2,
      random,
      settings: { url: url('postgres'), schema: ledger.schema, leaseMs: 1500, broken },
      heard(what, { id, step = '' }) {
        if (what !== 'dies') return
        injected[`kill -9 ${step}`]!++
        plan.delete(id)
        killedMs.set(id, performance.now())
        say(`killed ${step}`)
      },
    })
    try {
      const broker = dispatcher({
        ...{ ids, random, signal },
        async deliver(id) {
          const step = plan.get(id)
          await workers.deliver(step === undefined ? { id } : { id, die: step })
          const atMs = killedMs.get(id)
          if (atMs !== undefined) recoveryMs = Math.max(recoveryMs, performance.now() - atMs)
          killedMs.delete(id)
        },
      })
      await broker.done
      return {
        ...(await ledger.count(ids)),
        ...{ injected, outOfOrder: null, recoveryMs },
        notes: `leases of 1.5 s; ${broker.nacked} deliveries were nacked or died, ${broker.again} came again after their ack`,
      }
    } finally {
      await workers.dispose()
      await ledger.dispose()
    }
  },
}
