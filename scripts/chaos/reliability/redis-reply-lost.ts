import { seeded } from '../../../src/transports/memory/random.ts'
import { claimScript, settleScript } from '../../../src/stores/redis/scripts.ts'
import type { Scenario } from '../scenario.ts'
import { dispatcher, messageIds } from '../../../test/support/dispatcher.ts'
import { faultProxy, through } from '../../../test/support/fault-proxy.ts'
import { openLedger } from '../../../test/support/ledger.ts'
import { redisWorkload } from '../../../test/support/redis-workload.ts'

export const redisReplyLost: Scenario = {
  name: 'redis-reply-lost',
  what: 'Redis carries out a claim or a completion, and its answer is lost with the connection; ioredis sends the command again',
  promise:
    'nothing lost, and no effect repeated, since the lease outlasts the fault; nobody waits for a lease of its own',
  needs: ['redis', 'postgres'],
  async run({ seed, full, url, signal }) {
    const random = seeded(seed)
    const ids = messageIds(full ? 60_000 : 4_000)
    const faults = full ? 500 : 40
    const injected = { 'answers to claims lost': 0, 'answers to completions lost': 0 }
    let recoveryMs = 0
    const proxy = await faultProxy(url('redis'))
    const ledger = await openLedger(url('postgres'))
    const leaseMs = 20_000
    const orders = redisWorkload({ url: through(proxy, url('redis')), ledger, leaseMs })
    try {
      const broker = dispatcher({ ids, random, signal, deliver: orders.deliver })
      for (let n = 0; n < faults; n++) {
        await broker.until(() => broker.acked >= ((n + random()) * ids.length) / (faults + 1))
        const ofClaim = n % 2 === 0
        const { sha } = ofClaim ? claimScript : settleScript
        const before = proxy.counts.lostReplies
        proxy.loseReply((request) => request.includes(sha))
        if (!(await broker.until(() => proxy.counts.lostReplies > before))) break
        injected[ofClaim ? 'answers to claims lost' : 'answers to completions lost']++
        const lostMs = performance.now()
        await broker.nextAck()
        recoveryMs = Math.max(recoveryMs, performance.now() - lostMs)
      }
      await broker.done
      const slow = recoveryMs > leaseMs / 2 ? ['somebody waited for a lease of its own'] : []
      const notes = `leases of ${leaseMs / 1000} s; ${broker.nacked} deliveries were nacked`
      return { ...(await ledger.count(ids)), injected, outOfOrder: null, recoveryMs, violations: slow, notes }
    } finally {
      await orders.dispose()
      await proxy.dispose()
      await ledger.dispose()
    }
  },
}
