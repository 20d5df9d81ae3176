import { getEventListeners } from 'node:events'
import { setImmediate as turn } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it, onTestFinished } from 'vitest'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import { lanes } from '../../src/consumer/lanes.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { bulkhead } from '../../src/retry/bulkhead.ts'
import { circuitBreaker } from '../../src/retry/circuit-breaker.ts'
import { retry } from '../../src/retry/retry.ts'
import { timeout } from '../../src/retry/timeout.ts'
import { systemClock } from '../../src/core/clock.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

/** Everything between a broker and a handler; one message in ten fails once, one in a hundred for good. */
function stack(clock = systemClock) {
  const seen = new Set<string>()
  return pipeline<null>('orders')
    .use(
      idempotency<null>({
        store: memoryIdempotencyStore({ clock, maxKeys: 1000 }),
        clock,
        leaseMs: 30_000,
        retainMs: 60_000,
      }),
    )
    .use(retry({ maxAttempts: 2, backoff: () => 0, clock }))
    .use(circuitBreaker({ name: 'api', openAfter: 1_000_000, clock }))
    .use(bulkhead({ maxConcurrent: 64 }))
    .use(timeout({ afterMs: 10_000, clock }))
    .handle(async ({ message }) => {
      const n = Number(message.id)
      if (n % 100 === 0) throw new Error('for good')
      if (n % 10 === 0 && !seen.has(message.id)) {
        seen.add(message.id)
        throw new Error('once')
      }
      seen.delete(message.id)
    })
}

describe('100,000 messages leave nothing behind', () => {
  it('no delivery, no listener, no timer: on a signal of the whole process', async () => {
    const warnings: string[] = []
    const note = (warning: Error): void => void warnings.push(warning.name)
    process.on('warning', note)
    onTestFinished(() => void process.off('warning', note))
    const stop = new AbortController()
    const step = stack()
    const alive = new Set<object>()
    const registry = new FinalizationRegistry<object>((token) => alive.delete(token))
    let done = 0
    const { promise, resolve } = Promise.withResolvers<void>()
    const total = 100_000
    const run = lanes<number>({
      concurrency: 64,
      ahead: 1000,
      redeliverMs: 1,
      clock: systemClock,
      onNack: (_, __, attempt) => attempt + 1,
      async run(n) {
        const message = { id: String(n), body: null }
        if (n % 50 === 0) {
          const token = { n }
          alive.add(token)
          registry.register(message, token)
        }
        await step.dispatch({ message, signal: stop.signal }).catch(() => {})
      },
    })
    let added = 0
    const track = run.open({
      onDone() {
        if (++done === total) resolve()
        else if (added < total) run.add(track, `k${added % 97}`, added++)
      },
    })
    while (added < 500) run.add(track, `k${added % 97}`, added++)
    await promise
    expect(run.inFlight).toBe(0)
    expect(run.buffered).toBe(0)
    expect(track.byKey.size + track.held.size).toBe(0)
    expect(track.waiting.isEmpty).toBe(true)
    expect(getEventListeners(stop.signal, 'abort').length).toBeLessThanOrEqual(1)
    expect(warnings).toEqual([])
    await turn()
    for (let round = 0; round < 10 && alive.size > 20; round++) {
      collect()
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    // The store remembers the last thousand keys, no message.
    expect(alive.size).toBeLessThanOrEqual(20)
  }, 120_000)

  it('1,000 at once put no more listeners on their signal than one does', async () => {
    const clock = fakeClock()
    const stop = new AbortController()
    const { promise, resolve } = Promise.withResolvers<void>()
    let most = 0
    const step = pipeline<null>('orders')
      .use(idempotency<null>({ store: memoryIdempotencyStore({ clock }), clock }))
      .use(retry({ maxAttempts: 3, clock }))
      .use(bulkhead({ maxConcurrent: 100 }))
      .use(timeout({ afterMs: 10_000, clock }))
      .handle(async ({ attempt }) => {
        most = Math.max(most, getEventListeners(stop.signal, 'abort').length)
        if (attempt === 1) throw new Error('once')
        await promise
      })
    const running = Array.from({ length: 1000 }, (_, n) =>
      step.dispatch({ message: { id: `m${n}`, body: null }, signal: stop.signal }),
    )
    await clock.advance(5000)
    resolve()
    await clock.advance(5000)
    expect(new Set(await Promise.all(running))).toEqual(new Set(['handled']))
    expect(most).toBe(1)
    expect(clock.waiting).toBe(0)
  })

  it('a claim whose answer came too late lets go of the signal', async () => {
    const clock = fakeClock()
    const stop = new AbortController()
    const store = memoryIdempotencyStore({ clock })
    const slow = {
      ...store,
      claim: async (request: Parameters<typeof store.claim>[0]) => {
        const answer = await store.claim(request)
        await clock.advance(31_000)
        return answer
      },
    }
    const step = pipeline<null>('orders')
      .use(idempotency<null>({ store: slow, clock }))
      .handle(() => {})
    await expect(step.dispatch({ message: { id: 'm1', body: null }, signal: stop.signal })).rejects.toMatchObject({
      holds: 'lane',
    })
    expect(dependents(stop.signal)).toBe(0)
  })
})

/** How many children hang on a signal: the links of the chain that `signals.ts` notes on it. */
function dependents(signal: AbortSignal): number {
  const symbol = Object.getOwnPropertySymbols(signal).find(({ description }) => description === 'chain')
  if (symbol === undefined) return expect.fail('nobody ever hung on it')
  const chain = Reflect.get(signal, symbol) as { following: object }
  let count = 0
  for (let at = chain.following; at !== chain; at = (at as typeof chain).following) count++
  return count
}
