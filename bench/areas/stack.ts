import { context, SpanKind, trace } from '@opentelemetry/api'
import * as cockatiel from 'cockatiel'
import { deadLetter, idempotency, pipeline, retry, timeout, type Bytes, type Delivery, type Pipeline } from 'holdfast'
import { circuitBreaker } from 'holdfast/policies'
import { memoryIdempotencyStore } from 'holdfast/memory'
import { metrics } from 'holdfast/metrics'
import { tracing } from 'holdfast/tracing'
import compose from 'koa-compose'
import { Counter, Histogram, Registry } from 'prom-client'
import type { Comparison, Contender } from '../measure.ts'
import { deliveries } from '../messages.ts'
import { fused } from '../peers/fused.ts'

const remembered = 10_000
const handler = async (): Promise<void> => {}
const nowhere = { publish: () => Promise.resolve() }

/** Tracing, metrics, dead letter, idempotency in memory, retry, breaker and time-out around a handler that succeeds. */
export function stackArea(): Comparison[] {
  const shared = { area: 'pipeline', name: 'seven-feature stack', ours: contender('holdfast', stack()) }
  return [
    { ...shared, beside: contender('the same, assembled', assembled(true)), target: { speed: 10 } },
    { ...shared, beside: contender('assembled, without its time-out', assembled(false)), target: { speed: 2.5 } },
    { ...shared, beside: contender('one hand-fused function', fused(handler, remembered)), target: { cost: 2 } },
  ]
}

export type Step = (delivery: Delivery<Bytes>) => Promise<unknown>

export function stack(work: () => Promise<void> = handler): Step {
  return stackPipeline(work).step
}

export function stackPipeline(work: () => Promise<void>): Pipeline {
  return pipeline('bench')
    .use(tracing())
    .use(metrics({ registry: new Registry() }))
    .use(deadLetter({ to: nowhere }))
    .use(idempotency({ store: memoryIdempotencyStore({ maxKeys: remembered }) }))
    .use(retry({ maxAttempts: 5 }))
    .use(circuitBreaker({ name: 'bench' }))
    .use(timeout({ afterMs: 10_000 }))
    .handle(work)
}

export function bare(work: () => Promise<void> = handler): Step {
  return pipeline('bench').handle(work).step
}

/** What a team would put together from the usual parts. */
function assembled(withTimeout: boolean): Step {
  const registers = [new Registry()]
  const labelNames = ['pipeline', 'outcome']
  const outcomes = new Counter({ name: 'messages_total', help: 'messages', labelNames, registers })
  const seconds = new Histogram({ name: 'message_seconds', help: 'seconds', labelNames: ['pipeline'], registers })
  const tracer = trace.getTracer('bench')
  const seen = new Set<string>()
  const order: string[] = []
  let place = 0
  const { handleAll, ExponentialBackoff, ConsecutiveBreaker, TimeoutStrategy } = cockatiel
  const retried = cockatiel.retry(handleAll, { maxAttempts: 4, backoff: new ExponentialBackoff() })
  const guarded = cockatiel.circuitBreaker(handleAll, { halfOpenAfter: 10_000, breaker: new ConsecutiveBreaker(5) })
  const policy = withTimeout
    ? cockatiel.wrap(retried, guarded, cockatiel.timeout(10_000, TimeoutStrategy.Cooperative))
    : cockatiel.wrap(retried, guarded)

  type Next = () => Promise<unknown>
  const traced = (delivery: Delivery<Bytes>, next: Next): Promise<unknown> => {
    const attributes = { 'messaging.system': 'bench', 'messaging.message.id': delivery.message.id }
    const span = tracer.startSpan('process bench', { kind: SpanKind.CONSUMER, attributes })
    return context.with(trace.setSpan(context.active(), span), async () => {
      try {
        return await next()
      } finally {
        span.end()
      }
    })
  }
  const measured = async (_: Delivery<Bytes>, next: Next): Promise<unknown> => {
    const end = seconds.startTimer({ pipeline: 'bench' })
    try {
      const outcome = await next()
      outcomes.inc({ pipeline: 'bench', outcome: 'handled' })
      return outcome
    } finally {
      end()
    }
  }
  const buried = async (_: Delivery<Bytes>, next: Next): Promise<unknown> => {
    try {
      return await next()
    } catch {
      return nowhere.publish()
    }
  }
  const once = async ({ message }: Delivery<Bytes>, next: Next): Promise<unknown> => {
    if (seen.has(message.id)) return undefined
    const outcome = await next()
    seen.add(message.id)
    const oldest = order[place]
    if (oldest !== undefined) seen.delete(oldest)
    order[place] = message.id
    place = (place + 1) % remembered
    return outcome
  }
  const resilient = (_: Delivery<Bytes>, next: Next): Promise<unknown> => policy.execute(() => next())
  return compose<Delivery<Bytes>>([traced, measured, buried, once, resilient, handler]) as Step
}

export function contender(name: string, step: Step): Contender {
  const next = deliveries()
  return {
    name,
    async run(times) {
      for (let n = 0; n < times; n++) await step(next())
    },
  }
}
