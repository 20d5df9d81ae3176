import * as cockatiel from 'cockatiel'
import { pipeline, retry, timeout } from 'holdfast'
import { circuitBreaker } from 'holdfast/policies'
import CircuitBreaker from 'opossum'
import type { Comparison, Contender } from '../measure.ts'
import { deliveries } from '../messages.ts'

/** Retry, breaker and time-out around work that succeeds: what every message pays. */
export function failureArea(): Comparison[] {
  const shared = { area: 'pipeline', name: 'retry + breaker + timeout', ours: ours() }
  return [
    { ...shared, beside: wrapped(), target: { speed: 20 } },
    { ...shared, beside: opossum(), target: { speed: 2.5 } },
  ]
}

function ours(): Contender {
  const { step } = pipeline('bench')
    .use(retry({ maxAttempts: 5 }))
    .use(circuitBreaker({ name: 'bench' }))
    .use(timeout({ afterMs: 10_000 }))
    .handle(async () => {})
  const delivery = deliveries()()
  return {
    name: 'holdfast',
    async run(times) {
      for (let n = 0; n < times; n++) await step(delivery)
    },
  }
}

function wrapped(): Contender {
  const { handleAll, wrap, ExponentialBackoff, ConsecutiveBreaker, TimeoutStrategy } = cockatiel
  const policy = wrap(
    cockatiel.retry(handleAll, { maxAttempts: 4, backoff: new ExponentialBackoff() }),
    cockatiel.circuitBreaker(handleAll, { halfOpenAfter: 10_000, breaker: new ConsecutiveBreaker(5) }),
    cockatiel.timeout(10_000, TimeoutStrategy.Cooperative),
  )
  return {
    name: 'cockatiel wrap',
    async run(times) {
      for (let n = 0; n < times; n++) await policy.execute(async () => {})
    },
  }
}

/** opossum has a breaker and a time-out; it retries nothing. */
function opossum(): Contender {
  const breaker = new CircuitBreaker(async () => {}, { timeout: 10_000 })
  return {
    name: 'opossum',
    async run(times) {
      for (let n = 0; n < times; n++) await breaker.fire()
    },
  }
}
