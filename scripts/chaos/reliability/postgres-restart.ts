import { setTimeout as sleep } from 'node:timers/promises'
import { seeded } from '../../../src/transports/memory/random.ts'
import type { Scenario } from '../scenario.ts'
import { dispatcher, messageIds } from '../../../test/support/dispatcher.ts'
import { openLedger } from '../../../test/support/ledger.ts'
import { privatePostgres } from '../../../test/support/private-servers.ts'
import { workload } from '../../../test/support/workload.ts'

export const postgresRestart: Scenario = {
  name: 'postgres-restart',
  what: 'PostgreSQL is shut down in mid load, at once (SIGQUIT) or by kill -9, and started again: it recovers from its log',
  promise: 'effects once, nothing lost',
  needs: [],
  breaks: { 'early-key': 'the key is recorded before the handler succeeded' },
  async run({ seed, full, broken, say, signal }) {
    const random = seeded(seed)
    const ids = messageIds(full ? 100_000 : 5_000)
    const restarts = full ? 30 : 4
    const injected = { 'immediate shutdowns': 0, 'kill -9': 0 }
    let recoveryMs = 0
    const server = await privatePostgres()
    const ledger = await openLedger(server.url)
    const orders = workload({
      ...{ url: server.url, schema: ledger.schema, broken },
      async handler({ message, tx }) {
        await ledger.effect(tx, message.id)
        await sleep(random() * 4)
      },
    })
    try {
      const broker = dispatcher({ ids, random, signal, deliver: orders.deliver })
      for (let n = 0; n < restarts; n++) {
        // By progress rather than by time, so that each one falls into the load.
        await broker.until(() => broker.acked >= ((n + 0.5 + random() / 2) * ids.length) / (restarts + 1))
        const name = n % 2 === 0 ? 'SIGQUIT' : 'SIGKILL'
        injected[name === 'SIGQUIT' ? 'immediate shutdowns' : 'kill -9']++
        say(`${name} at ${broker.acked} of ${ids.length}`)
        await server.kill(name)
        await server.start()
        const backMs = performance.now()
        await broker.nextAck()
        recoveryMs = Math.max(recoveryMs, performance.now() - backMs)
      }
      await broker.done
      const notes = `${broker.nacked} deliveries were nacked, ${broker.again} came again after their ack`
      return { ...(await ledger.count(ids)), injected, outOfOrder: null, recoveryMs, notes }
    } finally {
      await orders.dispose()
      await ledger.dispose()
      await server.dispose()
    }
  },
}
