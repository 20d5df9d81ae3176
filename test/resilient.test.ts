import { channel } from 'node:diagnostics_channel'
import { setImmediate } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import {
  json,
  PermanentError,
  resilient,
  type Logger,
  type Middleware,
  type Outgoing,
  type ResilientOptions,
} from '../src/index.ts'
import { readDeadLetter } from '../src/dead-letter/index.ts'
import { memoryIdempotencyStore } from '../src/idempotency/memory-store.ts'
import { bulkhead, circuitBreaker, recovery, retryBudget, when } from '../src/retry/index.ts'
import { fakeClock } from '../src/testing/fake-clock.ts'

const Order = z.object({ cents: z.number() })
type Order = z.infer<typeof Order>

function setup(options: Partial<ResilientOptions<Order>> = {}, name = 'billing.orders') {
  const clock = fakeClock()
  const dead: Outgoing[] = []
  const lines: string[] = []
  const note = (fields: object, text: string) => void lines.push(`${text} ${JSON.stringify(fields)}`)
  const log: Logger = { info: note, warn: note, error: note }
  const deadLetters = { publish: (messages: readonly Outgoing[]) => Promise.resolve(void dead.push(...messages)) }
  const store = memoryIdempotencyStore({ clock })
  const build = resilient(name, { codec: json(Order), deadLetters, store, clock, log, ...options })
  return { build, clock, dead, lines }
}

const message = (id: string, body: unknown) => ({ message: { id, body: Buffer.from(JSON.stringify(body)) } })

describe('resilient()', () => {
  it('handles a message once, whatever fails on the way', async () => {
    const { build, clock, lines } = setup()
    const charged: number[] = []
    const orders = build.handle(({ message: { body }, attempt }) => {
      if (attempt < 3) throw new Error('the payment API hiccups')
      charged.push(body.cents)
    })
    const running = orders.dispatch(message('m1', { cents: 5 }))
    await clock.advance(60_000)
    expect(await running).toBe('handled')
    expect(await orders.dispatch(message('m1', { cents: 5 }))).toBe('duplicate')
    expect(charged).toEqual([5])
    expect(lines).toEqual([])
  })

  it.each([
    ['undecodable bytes', 'undecodable', { cents: 'five' }, 0],
    ['a permanent error', 'permanent', { cents: -1 }, 1],
    ['an error that never passes', 'attempts', { cents: 0 }, 5],
  ])(
    'dead-letters %s with untouched bytes, in one line of log without the payload',
    async (_, reason, body, attempts) => {
      const { build, clock, dead, lines } = setup()
      let runs = 0
      const orders = build.handle(({ message }) => {
        runs++
        if (message.body.cents < 0) throw new PermanentError('no charge below zero')
        throw new Error('down')
      })
      const running = orders.dispatch(message('m1', body))
      await clock.advance(120_000)
      expect(await running).toBe('dead-lettered')
      expect(runs).toBe(attempts)
      const [first] = dead
      expect(first?.id).toBe('m1')
      expect(Buffer.from(first?.body ?? []).toString()).toBe(JSON.stringify(body))
      expect(first && readDeadLetter(first)?.metadata).toMatchObject({ reason, attempts, pipeline: 'billing.orders' })
      expect(lines).toHaveLength(1)
      expect(lines[0]).toContain('dead-lettered')
      expect(lines[0]).not.toContain(JSON.stringify(body))
    },
  )

  it('has no circuit breaker: messages that fail together do not hold the others', async () => {
    const { build, clock } = setup()
    const orders = build.handle(({ message }) => {
      if (message.id.startsWith('bad')) throw new Error('always')
    })
    const bad = Array.from({ length: 20 }, (_, n) => orders.dispatch(message(`bad${n}`, { cents: 1 })))
    await clock.advance(50)
    expect(await orders.dispatch(message('good', { cents: 1 }))).toBe('handled')
    await clock.advance(120_000)
    expect(new Set(await Promise.all(bad))).toEqual(new Set(['dead-lettered']))
  })

  it('takes the parts of its stages, and leaves out what it is told to', async () => {
    const starts: number[] = []
    const payments = circuitBreaker({ name: 'payments' })
    const { build, clock, dead } = setup({
      ...{ circuitBreaker: payments, bulkhead: bulkhead({ maxConcurrent: 1 }), timeoutMs: false },
      ...{ leaseMs: 1_000, retainMs: 86_400_000, fingerprint: true, onStoreError: 'fail-open' },
      ...{ backoff: () => 7, maxAttempts: 3, recovery: recovery(when(RangeError).deadLetter('conflict')) },
      ...{ budget: retryBudget(), sleepUpToMs: 9, deadLetterDestination: 'graveyard' },
    })
    const orders = build.handle(({ message }) => {
      starts.push(clock.now())
      throw message.id === 'range' ? new RangeError('out') : new Error('x')
    })
    expect(orders.stages.map(({ name }) => name)).toEqual([
      ...['dead-letter', 'decode', 'idempotency', 'retry', 'circuit-breaker', 'bulkhead'],
    ])
    expect(orders.describe()).toMatchObject({ worstAttempts: 3, worstMs: null })
    expect(orders.stages.find(({ name }) => name === 'idempotency')?.facts).toMatchObject({
      ...{ leaseMs: 1_000, retainMs: 86_400_000 },
    })
    const running = orders.dispatch(message('m1', { cents: 1 }))
    await clock.advance(100)
    expect(await running).toBe('dead-lettered')
    expect(starts).toEqual([0, 7, 14])
    expect(await orders.dispatch(message('range', { cents: 1 }))).toBe('dead-lettered')
    expect(dead.map(({ id, destination }) => [id, destination])).toEqual([
      ['m1', 'graveyard'],
      ['range', 'graveyard'],
    ])
    const handedBack = setup({ deadLetters: false, maxAttempts: 1 }).build.handle(() => {
      throw new PermanentError('never')
    })
    await expect(handedBack.dispatch(message('m1', { cents: 1 }))).rejects.toThrow('never')
  })

  it('refuses options where a stage is to be given', () => {
    // @ts-expect-error options are no stage
    expect(() => setup({ circuitBreaker: { openAfter: 5 } })).toThrow(
      'resilient: circuitBreaker must be a stage: circuitBreaker({ … }) of holdfast/policies makes one, got an object',
    )
  })

  it('listens once for all its pipelines, and not at all once they are gone', async () => {
    setFlagsFromString('--expose-gc')
    const gc = runInNewContext('gc') as () => void
    const listeners = (): number => {
      const subscribers: unknown = Reflect.get(channel('holdfast:nacked'), '_subscribers')
      return Array.isArray(subscribers) ? subscribers.length : 0
    }
    const collected = async (): Promise<void> => {
      for (let turn = 0; turn < 5; turn++) {
        gc()
        await setImmediate()
      }
    }
    await collected()
    const before = listeners()
    const kept = setup().build.handle(() => {})
    for (let n = 0; n < 200; n++) setup({}, `tenant-${n}`).build.handle(() => {})
    expect(listeners()).toBeLessThanOrEqual(Math.max(before, 1))
    await collected()
    // One pipeline is left, and goes on being told of.
    expect(listeners()).toBe(1)
    expect(kept.name).toBe('billing.orders')
  })

  it('logs a nack in one line, and nothing when it was told so', async () => {
    const down = { claim: () => Promise.reject(new Error('connection refused')) }
    const loud = setup({ store: { ...memoryIdempotencyStore(), ...down } })
    await expect(loud.build.handle(() => {}).dispatch(message('m1', { cents: 1 }))).rejects.toThrow()
    expect(loud.lines).toHaveLength(1)
    expect(loud.lines[0]).toContain('handed back')
    const quiet = setup({ store: { ...memoryIdempotencyStore(), ...down }, log: false })
    await expect(quiet.build.handle(() => {}).dispatch(message('m1', { cents: 1 }))).rejects.toThrow()
    expect([...loud.lines.slice(1), ...quiet.lines]).toEqual([])
  })

  it('puts the stages of `outside` around all others', async () => {
    const seen: string[] = []
    const watch: Middleware = (next) => async (delivery) => {
      const outcome = await next(delivery)
      seen.push(outcome)
      return outcome
    }
    const { build } = setup({ outside: [watch] })
    const orders = build.handle(() => {})
    await orders.dispatch(message('m1', { cents: 1 }))
    await orders.dispatch(message('m2', 'not an order'))
    expect(seen).toEqual(['handled', 'dead-lettered'])
  })

  it('describes itself', () => {
    const { guarantee, worstAttempts, worstMs, warnings, stages } = setup()
      .build.handle(() => {})
      .describe()
    expect(stages.map(({ name }) => name)).toEqual(['dead-letter', 'decode', 'idempotency', 'retry', 'timeout'])
    expect(guarantee).toContain('known to this process alone')
    expect(worstAttempts).toBe(5)
    expect(worstMs).toBeGreaterThanOrEqual(50_000)
    expect(warnings).toHaveLength(1)
  })
})
