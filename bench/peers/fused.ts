import { context, SpanKind, trace } from '@opentelemetry/api'
import type { Bytes, Delivery } from 'holdfast'

interface Claim {
  state: 'in-progress' | 'completed'
  token: number
  attempts: number
  untilMs: number
}
interface Attempt {
  readonly controller: AbortController
  readonly dueMs: number
  done: boolean
}

const leaseMs = 30_000
const timeoutMs = 10_000
const maxAttempts = 5
const openAfter = 5

/**
 * Seven features in one function, as somebody would write it who needs it once and has the time: a span, counts and a
 * histogram, a dead letter, a claim with lease, owner and token, retries, a breaker, one deadline per attempt.
 */
export function fused(
  handler: (delivery: Delivery<Bytes> & { fence: number }) => Promise<void>,
  remembered: number,
): (delivery: Delivery<Bytes>) => Promise<unknown> {
  const tracer = trace.getTracer('bench')
  const outcomes = { handled: 0, duplicate: 0, 'dead-lettered': 0, nacked: 0 }
  const bounds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]
  const seconds = new Array<number>(bounds.length + 1).fill(0)
  const claims = new Map<string, Claim>()
  const order: string[] = []
  let next = 0
  let inFlight = 0
  let tokens = 0
  let failures = 0
  let openUntilMs = 0
  let running: Attempt[] = []
  let ended = 0
  setInterval(() => {
    const nowMs = performance.now()
    for (const attempt of running) {
      if (attempt.dueMs > nowMs) break
      if (!attempt.done) attempt.controller.abort(new Error('took too long'))
    }
  }, 20).unref()

  return async function fused(delivery) {
    const { message } = delivery
    const startMs = performance.now()
    inFlight++
    const attributes = { 'messaging.system': 'bench', 'messaging.message.id': message.id }
    const span = tracer.startSpan('process bench', { kind: SpanKind.CONSUMER, attributes })
    let outcome: keyof typeof outcomes = 'nacked'
    try {
      const known = claims.get(message.id)
      if (known?.state === 'completed') return (outcome = 'duplicate')
      if (known !== undefined && known.untilMs > startMs) throw new Error('in progress')
      const claim: Claim = {
        state: 'in-progress',
        token: ++tokens,
        attempts: (known?.attempts ?? 0) + 1,
        untilMs: startMs + leaseMs,
      }
      claims.set(message.id, claim)
      // A ring of ids: the first key of a map that has seen many deletions is slow to find.
      const oldest = order[next]
      if (oldest !== undefined) claims.delete(oldest)
      order[next] = message.id
      next = (next + 1) % remembered
      for (let attempt = claim.attempts; ; attempt++) {
        const nowMs = performance.now()
        if (openUntilMs > nowMs) throw new Error('the circuit is open')
        const current: Attempt = { controller: new AbortController(), dueMs: nowMs + timeoutMs, done: false }
        if (delivery.signal.aborted) throw new Error('stopped')
        running.push(current)
        try {
          const widened = { ...delivery, attempt, signal: current.controller.signal, fence: claim.token }
          await context.with(trace.setSpan(context.active(), span), handler, undefined, widened)
          failures = 0
          break
        } catch (error) {
          if (++failures >= openAfter) openUntilMs = performance.now() + 10_000
          if (attempt >= maxAttempts) throw error
          await new Promise((resolve) => setTimeout(resolve, Math.random() * 100 * 2 ** attempt))
        } finally {
          current.done = true
          if (++ended > 64 && ended * 2 > running.length) {
            running = running.filter((each) => !each.done)
            ended = 0
          }
        }
      }
      if (claims.get(message.id)?.token !== claim.token) throw new Error('lost')
      claim.state = 'completed'
      claim.untilMs = performance.now() + 7 * 86_400_000
      return (outcome = 'handled')
    } catch (error) {
      span.recordException(error instanceof Error ? error : String(error))
      return (outcome = 'dead-lettered')
    } finally {
      inFlight--
      outcomes[outcome]++
      const took = (performance.now() - startMs) / 1000
      let at = 0
      while (took > (bounds[at] ?? Infinity)) at++
      seconds[at] = (seconds[at] ?? 0) + 1
      span.end()
    }
  }
}
