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
import { fakeClock } from '../src/testing/fake-clock.ts'

const Order = z.object({ cents: z.number() })
type Order = z.infer<typeof Order>

function setup(options: Partial<ResilientOptions<Order>> = {}) {
  const clock = fakeClock()
  const dead: Outgoing[] = []
  const lines: string[] = []
  const note = (fields: object, text: string) => void lines.push(`${text} ${JSON.stringify(fields)}`)
  const log: Logger = { info: note, warn: note, error: note }
  const deadLetters = { publish: (messages: readonly Outgoing[]) => Promise.resolve(void dead.push(...messages)) }
  const store = memoryIdempotencyStore({ clock })
  const build = resilient('billing.orders', { codec: json(Order), deadLetters, store, clock, log, ...options })
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

  it('one message that fails at every attempt does not open the circuit for the others', async () => {
    const { build, clock } = setup()
    const orders = build.handle(({ message }) => {
      if (message.id === 'bad') throw new Error('always')
    })
    const bad = orders.dispatch(message('bad', { cents: 1 }))
    await clock.advance(120_000)
    expect(await bad).toBe('dead-lettered')
    expect(await orders.dispatch(message('good', { cents: 1 }))).toBe('handled')
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
    expect(stages.map(({ name }) => name)).toEqual([
      'dead-letter',
      'decode',
      'idempotency',
      'retry',
      'circuit-breaker',
      'timeout',
    ])
    expect(guarantee).toContain('known to this process alone')
    expect(worstAttempts).toBe(5)
    expect(worstMs).toBeGreaterThanOrEqual(50_000)
    expect(warnings).toHaveLength(1)
  })
})
