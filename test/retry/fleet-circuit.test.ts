import { afterEach, describe, expect, it } from 'vitest'
import { isRetryLater } from '../../src/core/errors.ts'
import { subscribe } from '../../src/core/events.ts'
import { circuitBreaker, type CircuitBreakerOptions } from '../../src/retry/circuit-breaker.ts'
import type { CircuitAnswer, CircuitExchange, Circuits } from '../../src/retry/store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'

const down = (): Promise<never> => Promise.reject(Object.assign(new Error('down'), { code: 'ECONNREFUSED' }))
const works = (): Promise<string> => Promise.resolve('answer')
const closed = { state: 'closed', epoch: 0, leftMs: 0, granted: false } as const
type Answers = (exchange: CircuitExchange) => CircuitAnswer | Promise<CircuitAnswer>

/** One process of a fleet, whose store answers what the test says. */
function member(options: Partial<CircuitBreakerOptions> = {}) {
  const clock = fakeClock()
  const asked: CircuitExchange[] = []
  let answer: Answers = () => closed
  const share: Circuits = {
    ...{ name: 'test', beatMs: 1_000 },
    async exchange(_, exchange) {
      asked.push(exchange)
      return answer(exchange)
    },
  }
  const circuit = circuitBreaker({
    ...{ name: 'payments', openAfter: 3, probeTimeoutMs: 1_000, clock, random: () => 0.5, share },
    ...options,
  })
  let calls = 0
  return {
    ...{ clock, circuit, asked },
    get calls() {
      return calls
    },
    get answer(): Answers {
      return answer
    },
    set answer(next: Answers) {
      answer = next
    },
    async call(id: string, work: () => Promise<unknown> = works): Promise<unknown> {
      const counted = (): Promise<unknown> => {
        calls++
        return work()
      }
      const said = circuit.run(counted, { id }).catch((error: unknown) => error)
      await clock.advance(0)
      return said
    },
  }
}

describe('circuitBreaker({ share })', () => {
  const stops: (() => void)[] = []
  afterEach(() => {
    for (const stop of stops.splice(0)) stop()
  })

  it('costs one call to the store for each beat while it is closed, and none for each message', async () => {
    const { call, clock, asked } = member()
    for (let n = 0; n < 100; n++) {
      await call(`m${n}`)
      await clock.advance(50)
    }
    expect(asked.length).toBeLessThanOrEqual(6)
    expect(asked.every(({ sight }) => sight.vote === 'works')).toBe(true)
  })

  it('tells of a first failure at once, in absolute figures', async () => {
    const self = member()
    await self.call('good')
    await self.clock.advance(300)
    await self.call('m1', down)
    expect(self.asked.at(-1)).toMatchObject({ do: 'report', sight: { bad: 1, answerAgeMs: 300 } })
  })

  it('opens by what the fleet knows before it calls again: a process in doubt asks first', async () => {
    const self = member()
    await self.call('m1', down)
    expect(self.calls).toBe(1)
    self.answer = () => ({ state: 'open', epoch: 7, leftMs: 1_000, granted: false })
    await self.clock.advance(60)
    expect(isRetryLater(await self.call('m2', down))).toBe(true)
    expect([self.calls, self.circuit.state]).toEqual([1, 'open'])
    expect(self.circuit.health().details).toMatchObject({ scope: 'fleet', epoch: 7, share: 'online' })
  })

  it('asks nothing before a call where an answer came since the failure', async () => {
    const self = member()
    await self.call('m1', down)
    await self.call('good')
    const { length } = self.asked
    await self.clock.advance(60)
    await self.call('m2')
    expect(self.asked).toHaveLength(length)
  })

  it('probes only with a grant, and settles under the epoch of that grant', async () => {
    const self = member()
    self.answer = () => ({ state: 'open', epoch: 7, leftMs: 100, granted: false })
    await self.call('m1', down)
    self.answer = ({ do: what }) =>
      what === 'ask'
        ? { state: 'half-open', epoch: 8, leftMs: 2_000, granted: true, prober: 'me' }
        : { state: 'closed', epoch: 9, leftMs: 0, granted: false }
    await self.clock.advance(200)
    expect(await self.call('m2')).toBe('answer')
    const settled = self.asked.find(({ do: what }) => what === 'settle')
    expect(settled).toMatchObject({ result: 'answered', known: { epoch: 8 } })
    expect(self.circuit.state).toBe('closed')
  })

  it('does not call while another process probes, and says who does', async () => {
    const self = member()
    self.answer = () => ({ state: 'open', epoch: 7, leftMs: 100, granted: false })
    await self.call('m1', down)
    self.answer = () => ({ state: 'half-open', epoch: 8, leftMs: 2_000, granted: false, prober: 'host:9:x' })
    await self.clock.advance(200)
    expect(isRetryLater(await self.call('m2'))).toBe(true)
    expect(self.calls).toBe(1)
    expect(self.circuit.health().details).toMatchObject({ prober: 'host:9:x' })
    // It asks again within a quarter of a second, and not for each message.
    const { length } = self.asked
    for (let n = 0; n < 20; n++) await self.call(`w${n}`)
    expect(self.asked.length - length).toBeLessThanOrEqual(1)
  })

  it('F-7: does not use a grant that is older than half of its lease', async () => {
    const self = member()
    self.answer = () => ({ state: 'open', epoch: 7, leftMs: 100, granted: false })
    await self.call('m1', down)
    const late = Promise.withResolvers<CircuitAnswer>()
    let asks = 0
    self.answer = ({ do: what }) => {
      if (what !== 'ask' || ++asks > 1) return { state: 'open', epoch: 8, leftMs: 500, granted: false }
      return late.promise
    }
    await self.clock.advance(200)
    const said = self.call('m2')
    // The event loop stood still for longer than half of the lease of 2 s: no timer has fired meanwhile.
    const { now } = self.clock
    Object.assign(self.clock, { now: () => now() + 1_500 })
    late.resolve({ state: 'half-open', epoch: 8, leftMs: 2_000, granted: true })
    expect(isRetryLater(await said)).toBe(true)
    expect(self.calls).toBe(1)
  })

  it('takes no epoch back', async () => {
    const self = member()
    self.answer = () => ({ state: 'open', epoch: 9, leftMs: 1_000, granted: false })
    await self.call('m1', down)
    self.answer = () => ({ state: 'closed', epoch: 4, leftMs: 0, granted: false })
    await self.clock.advance(1_500)
    await self.call('m2', down)
    expect(self.circuit.health().details).toMatchObject({ epoch: 9 })
  })

  it('decides for itself while the store is away, tells so once, and comes back', async () => {
    const self = member()
    const seen: unknown[] = []
    stops.push(subscribe('share-changed', ({ name, online }) => seen.push([name, online])))
    self.answer = () => Promise.reject(new Error('away'))
    for (const id of ['m1', 'm2', 'm3']) {
      await self.call(id, down)
      await self.clock.advance(60)
    }
    expect(self.circuit.state).toBe('open')
    expect(self.circuit.health()).toMatchObject({ details: { scope: 'process', share: 'away' } })
    // Its own probe, spread over one window.
    for (let n = 0; n < 40 && self.circuit.state !== 'closed'; n++) {
      await self.clock.advance(100)
      await self.call(`p${n}`)
    }
    expect(self.circuit.state).toBe('closed')
    self.answer = () => closed
    await self.clock.advance(1_500)
    await self.call('good')
    expect(seen).toEqual([
      ['payments', false],
      ['payments', true],
    ])
  })

  it('waits for a store that does not answer for 500 ms, and no longer', async () => {
    const self = member()
    self.answer = () => new Promise(() => {})
    void self.call('m1', down)
    await self.clock.advance(0)
    const second = self.call('m2')
    await self.clock.advance(600)
    expect(await second).toBe('answer')
  })

  it('observed: votes nothing and refuses nothing, whatever the fleet knows', async () => {
    const self = member({ observe: true })
    self.answer = () => ({ state: 'open', epoch: 7, leftMs: 60_000, granted: false })
    for (const id of ['m1', 'm2', 'm3', 'm4', 'm5']) await self.call(id, down)
    expect(self.calls).toBe(5)
    await self.clock.advance(1_000)
    await self.call('m6')
    expect(self.calls).toBe(6)
    expect(self.asked.every(({ sight }) => sight.vote === 'none' && sight.bad === 0)).toBe(true)
  })

  it('refuses another circuit of its name with other terms on one share', () => {
    const share: Circuits = { name: 'test', beatMs: 1_000, exchange: () => Promise.resolve(closed) }
    circuitBreaker({ name: 'payments', share })
    circuitBreaker({ name: 'payments', share })
    circuitBreaker({ name: 'other', share, openAfter: 5 })
    expect(() => circuitBreaker({ name: 'payments', share, openAfter: 5 })).toThrow(
      'circuitBreaker: name must be another one than that of a circuitBreaker with',
    )
  })
})
