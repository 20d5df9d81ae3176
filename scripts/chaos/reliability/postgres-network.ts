import { setTimeout as sleep } from 'node:timers/promises'
import { seeded } from '../../../src/transports/memory/random.ts'
import type { Scenario } from '../scenario.ts'
import { dispatcher, messageIds } from '../../../test/support/dispatcher.ts'
import { faultProxy, through } from '../../../test/support/fault-proxy.ts'
import { openLedger } from '../../../test/support/ledger.ts'
import { workload } from '../../../test/support/workload.ts'

/** A connection that went silent is given up after this long; node-postgres by itself waits for ever. */
const queryTimeoutMs = 700

export const postgresNetwork: Scenario = {
  name: 'postgres-network',
  what: 'between us and PostgreSQL connections are reset, refused, delayed, silent (half-open), and answers to COMMIT are lost',
  promise: 'effects once, nothing lost',
  needs: ['postgres'],
  breaks: { 'early-key': 'the key is recorded before the handler succeeded' },
  async run({ seed, full, broken, url, say, signal }) {
    const random = seeded(seed)
    const ids = messageIds(full ? 100_000 : 4_000)
    const rounds = full ? 100 : 12
    const injected = { reset: 0, refused: 0, delayed: 0, 'half-open': 0, 'answers to COMMIT lost': 0 }
    let recoveryMs = 0
    const proxy = await faultProxy(url('postgres'))
    const ledger = await openLedger(url('postgres'))
    const orders = workload({
      ...{ url: through(proxy, url('postgres')), schema: ledger.schema, broken },
      pools: { query_timeout: queryTimeoutMs, connectionTimeoutMillis: queryTimeoutMs },
      handler: async ({ message, tx }) => void (await ledger.effect(tx, message.id)),
    })

    const faults: Readonly<Record<keyof typeof injected, () => Promise<void>>> = {
      async reset() {
        const before = proxy.counts.cut
        proxy.cut()
        injected.reset += proxy.counts.cut - before
      },
      async refused() {
        const before = proxy.counts.refused
        proxy.refuse()
        await sleep(100 + random() * 400)
        proxy.restore()
        injected.refused += proxy.counts.refused - before
      },
      async delayed() {
        const before = proxy.counts.delayed
        proxy.delay(20 + random() * 200)
        await sleep(500)
        proxy.delay(0)
        injected.delayed += proxy.counts.delayed - before
      },
      async 'half-open'() {
        injected['half-open'] += proxy.connections()
        proxy.silence()
        await sleep(queryTimeoutMs + random() * 500)
        proxy.restore()
      },
      async 'answers to COMMIT lost'() {
        const before = proxy.counts.lostReplies
        proxy.loseReply((request) => request.includes('commit'))
        if (await broker.until(() => proxy.counts.lostReplies > before)) injected['answers to COMMIT lost']++
      },
    }
    const broker = dispatcher({ ids, random, signal, deliver: orders.deliver })
    const kinds = Object.keys(faults) as (keyof typeof faults)[]
    try {
      for (let n = 0; n < rounds; n++) {
        await broker.until(() => broker.acked >= ((n + random()) * ids.length) / (rounds + 1))
        // Each kind in turn first, so that none is left out; then by the dice.
        const kind = kinds[n < kinds.length ? n : Math.floor(random() * kinds.length)] ?? 'reset'
        say(`${kind} at ${broker.acked} of ${ids.length}`)
        await faults[kind]()
        const overMs = performance.now()
        await broker.nextAck()
        recoveryMs = Math.max(recoveryMs, performance.now() - overMs)
      }
      await broker.done
      const notes = `${broker.nacked} deliveries were nacked; query_timeout ${queryTimeoutMs} ms, without which node-postgres waits for a silent connection for ever`
      return { ...(await ledger.count(ids)), injected, outOfOrder: null, recoveryMs, notes }
    } finally {
      await orders.dispose()
      await proxy.dispose()
      await ledger.dispose()
    }
  },
}
