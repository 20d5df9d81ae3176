import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { deadLetter } from '../../../src/dead-letter/dead-letter.ts'
import { subscribe } from '../../../src/core/events.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { circuitBreaker } from '../../../src/retry/circuit-breaker.ts'
import { retry } from '../../../src/retry/retry.ts'
import { transaction } from '../../../src/stores/postgres/index.ts'
import { kafkajsPublisher } from '../../../src/transports/kafkajs/index.ts'
import { dependency } from '../kafka/dependency.ts'
import { leaseMs, withKafkaRig } from '../kafka/rig.ts'
import type { Scenario } from '../scenario.ts'

const maxAttempts = 3
const concurrency = 16

export const breakerOpen: Scenario = {
  name: 'breaker-open',
  what: 'the dependency that every handler calls is down for 10 minutes (shortened: 12 s), behind a circuit breaker',
  promise:
    'neither the refusals of the circuit nor its failed probes are attempts: no message is dead-lettered for the outage; one probe at a time, and everything goes on after the first that succeeds',
  needs: ['kafka', 'postgres'],
  run: (how) =>
    withKafkaRig(how, { keys: 100 }, async (rig) => {
      const downMs = how.full ? 600_000 : Math.max(12_000, how.minutes * 60_000)
      const payments = dependency()
      const events = { opened: 0, probes: 0 }
      const dead = new Set<string>()
      const ends = [
        subscribe('circuit-changed', ({ name, to }) => {
          if (name !== rig.name) return
          if (to === 'open') events.opened++
          if (to === 'half-open') events.probes++
        }),
        subscribe('dead-lettered', ({ delivery }) => {
          if (delivery.pipeline === rig.name) dead.add(delivery.message.id)
        }),
      ]
      const work = pipeline(rig.name)
        .use(rig.counted)
        .use(deadLetter({ to: kafkajsPublisher(rig.producer), destination: rig.deadLetters }))
        .use(idempotency({ store: rig.store, leaseMs }))
        .use(retry({ maxAttempts, backoff: () => 50 }))
        .use(circuitBreaker({ name: rig.name }))
        .use(transaction<pg.PoolClient>(rig.work))
        .handle(async (delivery) => {
          await payments.call()
          await rig.effect(delivery)
        })
      await rig.produce(3000)
      rig.start(work, { concurrency })
      await rig.until('some effects', async () => (await rig.effects()) > 200 + rig.random() * 800)
      payments.down = true
      await rig.until('an open circuit', () => events.opened > 0)
      // What was under way when it opened comes to its end.
      await sleep(200)
      payments.watch()
      await sleep(downMs, undefined, { signal: how.signal })
      const atOnce = payments.most
      payments.down = false
      const [backMs, before] = [performance.now(), await rig.effects()]
      await rig.until('the first effect after it', async () => (await rig.effects()) > before)
      const recoveryMs = performance.now() - backMs
      await rig.settle(0)
      for (const end of ends) end()
      return {
        injected: { 'failed calls': payments.calls.down, 'failed probes': events.opened - 1 },
        ...(await rig.figures(dead)),
        recoveryMs,
        violations: [
          ...(dead.size === 0 ? [] : [`${dead.size} dead-lettered for an outage`]),
          ...(atOnce <= 1 ? [] : [`${atOnce} calls at once while the circuit was open`]),
        ],
        notes: `${events.probes} probes in ${Math.round(downMs / 1000)} s; ${payments.calls.down} calls met the dependency while it was down`,
      }
    }),
}
