import { setTimeout as sleep } from 'node:timers/promises'
import type pg from 'pg'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { retryBudget } from '../../../src/retry/budget.ts'
import { retry } from '../../../src/retry/retry.ts'
import { transaction } from '../../../src/stores/postgres/index.ts'
import { dependency } from '../kafka/dependency.ts'
import { leaseMs, withKafkaRig } from '../kafka/rig.ts'
import type { Scenario } from '../scenario.ts'

const ratio = 0.1
const tokensPerSecond = 50
const maxTokens = 50

export const failureStep: Scenario = {
  name: 'failure-step',
  what: 'the dependency that every handler calls fails every call for 2 minutes (shortened: 8 s), then none; no circuit breaker, a retry budget',
  promise: `retries stay within the budget (${ratio} of the messages + ${tokensPerSecond} a second + ${maxTokens}), nothing is lost, and work goes on after it`,
  needs: ['kafka', 'postgres'],
  run: (how) =>
    withKafkaRig(how, { keys: 1000 }, async (rig) => {
      const downMs = how.full ? 120_000 : Math.max(8000, how.minutes * 60_000)
      const payments = dependency()
      const budget = retryBudget({ name: rig.name, ratio, tokensPerSecond, maxTokens })
      const first = new Set<string>()
      const work = pipeline(rig.name)
        .use(rig.counted)
        .use(idempotency({ store: rig.store, leaseMs }))
        .use(retry({ maxAttempts: 10_000, backoff: { initialMs: 50, maxMs: 1000 }, budget }))
        .use(transaction<pg.PoolClient>(rig.work))
        .handle(async (delivery) => {
          if (payments.down) first.add(delivery.message.id)
          await payments.call()
          await rig.effect(delivery)
        })
      await rig.produce(3000)
      rig.start(work)
      await rig.until('some effects', async () => (await rig.effects()) > 200 + rig.random() * 800)
      payments.down = true
      const downAtMs = performance.now()
      await sleep(downMs, undefined, { signal: how.signal })
      const seconds = (performance.now() - downAtMs) / 1000
      payments.down = false
      const [backMs, before] = [performance.now(), await rig.effects()]
      await rig.until('the first effect after it', async () => (await rig.effects()) > before)
      const recoveryMs = performance.now() - backMs
      await rig.settle(rig.produced)
      const drainedMs = performance.now() - backMs
      const retries = payments.calls.down - first.size
      const allowed = maxTokens + tokensPerSecond * seconds + ratio * rig.produced
      return {
        injected: { 'calls that failed': payments.calls.down },
        ...(await rig.figures()),
        recoveryMs,
        violations: retries <= allowed ? [] : [`${retries} retries in the outage, ${Math.floor(allowed)} allowed`],
        notes: `${(payments.calls.down / first.size).toFixed(2)} calls a message in the outage, ${retries} retries of ${Math.floor(allowed)} allowed; the backlog was gone ${Math.round(drainedMs)} ms after it`,
      }
    }),
}
