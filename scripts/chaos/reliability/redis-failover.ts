import { setTimeout as sleep } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { seeded } from '../../../src/transports/memory/random.ts'
import type { Scenario } from '../scenario.ts'
import { dispatcher, messageIds } from '../../../test/support/dispatcher.ts'
import { faultProxy, through } from '../../../test/support/fault-proxy.ts'
import { openLedger } from '../../../test/support/ledger.ts'
import { privateRedis } from '../../../test/support/private-servers.ts'
import { redisWorkload } from '../../../test/support/redis-workload.ts'

const lagMs = 300

export const redisFailover: Scenario = {
  name: 'redis-failover',
  what: `the primary is killed with -9 while its replica is ${lagMs} ms behind, and the replica is promoted: it never heard of the last claims and completions`,
  promise: 'nothing lost; acknowledged keys may be forgotten, and their effects happen again: counted',
  needs: ['postgres'],
  async run({ seed, full, url, say, signal }) {
    const random = seeded(seed)
    const ids = messageIds(full ? 30_000 : 4_000)
    const injected = { 'primary killed -9': 0, 'replica promoted': 0 }
    const primary = await privateRedis()
    const replica = await privateRedis()
    // The way that replication takes, and the name that clients know.
    const wire = await faultProxy(primary.url)
    const name = await faultProxy(primary.url)
    const ledger = await openLedger(url('postgres'))
    const orders = redisWorkload({ url: through(name, primary.url), ledger, leaseMs: 2000 })
    const admin = new Redis(replica.url)
    admin.on('error', () => {})
    try {
      await admin.replicaof('127.0.0.1', wire.port)
      while (!(await admin.info('replication')).includes('master_link_status:up')) await sleep(50)
      wire.delay(lagMs)
      // Half of them come again, so that what was forgotten is found out.
      const acked: string[] = []
      const deliver = async (id: string) => {
        const outcome = await orders.deliver(id)
        acked.push(id)
        return outcome
      }
      const broker = dispatcher({ ids, random, signal, again: 0.5, deliver })
      await broker.until(() => broker.acked >= (0.4 + random() * 0.2) * ids.length)
      say(`kill -9 at ${broker.acked} of ${ids.length}`)
      const known = [...new Set(acked)]
      await primary.kill('SIGKILL')
      injected['primary killed -9']++
      await admin.replicaof('NO', 'ONE')
      injected['replica promoted']++
      const forgotten = known.length - (await orders.remembered(known, replica.url))
      name.retarget(replica.url)
      const backMs = performance.now()
      await broker.nextAck()
      const recoveryMs = performance.now() - backMs
      await broker.done
      return {
        ...(await ledger.count(ids)),
        ...{ injected, outOfOrder: null, recoveryMs },
        allowed: { doubled: 'counted' },
        notes: `${forgotten} of the acknowledged keys were forgotten altogether; every second message came again after its ack`,
      }
    } finally {
      admin.disconnect()
      await orders.dispose()
      await Promise.all([wire.dispose(), name.dispose()])
      await ledger.dispose()
      await Promise.all([primary.dispose(), replica.dispose()])
    }
  },
}
