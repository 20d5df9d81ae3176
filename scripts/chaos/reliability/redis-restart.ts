import { seeded } from '../../../src/transports/memory/random.ts'
import type { Scenario } from '../scenario.ts'
import { dispatcher, messageIds } from '../../../test/support/dispatcher.ts'
import { openLedger } from '../../../test/support/ledger.ts'
import { privateRedis } from '../../../test/support/private-servers.ts'
import { redisWorkload } from '../../../test/support/redis-workload.ts'

export const redisRestart: Scenario = {
  name: 'redis-restart',
  what: 'Redis is killed with -9 in mid load and started again from its append-only file',
  promise: 'nothing lost; effects outside the store repeat only for what was in flight at a kill',
  needs: ['postgres'],
  breaks: { 'no-aof': 'the server keeps nothing: what was completed is handled again' },
  async run({ seed, full, broken, url, say, signal }) {
    const random = seeded(seed)
    const ids = messageIds(full ? 60_000 : 4_000)
    const kills = full ? 20 : 3
    const concurrency = 8
    const injected = { 'kill -9': 0 }
    let recoveryMs = 0
    const server = await privateRedis({ flags: broken === 'no-aof' ? ['--appendonly', 'no'] : [] })
    const ledger = await openLedger(url('postgres'))
    const orders = redisWorkload({ url: server.url, ledger, leaseMs: 2000 })
    try {
      const broker = dispatcher({ ids, random, signal, concurrency, again: 0.5, deliver: orders.deliver })
      for (let n = 0; n < kills; n++) {
        await broker.until(() => broker.acked >= ((n + 0.5 + random() / 2) * ids.length) / (kills + 1))
        say(`kill -9 at ${broker.acked} of ${ids.length}`)
        await server.kill('SIGKILL')
        injected['kill -9']++
        await server.start()
        const backMs = performance.now()
        await broker.nextAck()
        recoveryMs = Math.max(recoveryMs, performance.now() - backMs)
      }
      await broker.done
      return {
        ...(await ledger.count(ids)),
        ...{ injected, outOfOrder: null, recoveryMs },
        allowed: { doubled: kills * concurrency },
        notes: `${broker.again} messages came again after their ack, ${broker.nacked} deliveries were nacked`,
      }
    } finally {
      await orders.dispose()
      await ledger.dispose()
      await server.dispose()
    }
  },
}
