import { AsyncLocalStorage } from 'node:async_hooks'
import { describe, expect, it } from 'vitest'
import { isRetryLater, PermanentError, RetryLater } from '../../src/core/errors.ts'
import { health } from '../../src/core/health.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { circuitBreaker, type CircuitBreaker, type CircuitBreakerOptions } from '../../src/retry/circuit-breaker.ts'
import { retry } from '../../src/retry/retry.ts'
import { timeout } from '../../src/retry/timeout.ts'
import { fakeClock, type FakeClock } from '../../src/testing/fake-clock.ts'
import { watch, watched, watchUnhandled, type Watched } from '../support/watch.ts'

const ignore = (): void => {}
const refused = (): Error => Object.assign(new Error('connect ECONNREFUSED'), { code: 'ECONNREFUSED' })
const failing = (): Promise<never> => Promise.reject(refused())
const works = (): Promise<string> => Promise.resolve('answer')

interface Dependency {
  readonly clock: FakeClock
  readonly circuit: CircuitBreaker
  /** One call for the message of that id. */
  call(id: string, work?: () => Promise<unknown>, signal?: AbortSignal): Promise<unknown>
  fail(...ids: readonly string[]): Promise<void>
}

/** Waits are not spread, and what may count in part counts where fewer than half of the others failed. */
function dependency(options: Partial<CircuitBreakerOptions> = {}): Dependency {
  const clock = fakeClock()
  const circuit = circuitBreaker({ name: 'payment-api', openAfter: 3, clock, random: () => 0.5, ...options })
  const call: Dependency['call'] = (id, work = works, signal) => circuit.run(work, { id, ...(signal && { signal }) })
  return {
    clock,
    circuit,
    call,
    async fail(...ids) {
      for (const id of ids) await call(id, failing).catch(ignore)
    },
  }
}

async function opened(options?: Partial<CircuitBreakerOptions>): Promise<Dependency> {
  const self = dependency(options)
  await self.fail('m1', 'm2', 'm3')
  expect(self.circuit.state).toBe('open')
  return self
}

async function rejection(promise: Promise<unknown>): Promise<Error> {
  return promise.then(
    (value) => expect.fail(`resolved with ${String(value)}`),
    (error: Error) => error,
  )
}

describe('circuitBreaker()', () => {
  describe('opens', () => {
    it('after ten different messages failed for the first time, unless told otherwise', async () => {
      const self = dependency({ openAfter: 10 })
      for (let n = 1; n <= 9; n++) await self.fail(`m${n}`)
      expect(self.circuit.state).toBe('closed')
      await self.fail('m10')
      expect(self.circuit.state).toBe('open')
      expect(circuitBreaker({ name: 'default' }).stage?.facts?.circuit).toBe('default, this process')
    })

    it('F-1: not by the retries of few messages, however often they fail', async () => {
      const self = dependency()
      for (let turn = 0; turn < 50; turn++) await self.fail('m1', 'm2')
      expect(self.circuit.state).toBe('closed')
    })

    it('not where somebody was answered in between', async () => {
      const self = dependency()
      await self.fail('m1', 'm2')
      await self.call('good')
      await self.fail('m3', 'm4')
      expect(self.circuit.state).toBe('closed')
      await self.fail('m5')
      expect(self.circuit.state).toBe('open')
    })

    it('by calls without an id, each of which is a first failure', async () => {
      const self = dependency()
      for (let n = 0; n < 3; n++) await self.circuit.run(failing).catch(ignore)
      expect(self.circuit.state).toBe('open')
    })

    it('by a message again that got through since it failed', async () => {
      const self = dependency()
      await self.fail('m1')
      await self.call('m1')
      await self.fail('m1', 'm2', 'm3')
      expect(self.circuit.state).toBe('open')
    })

    it.each<[string, unknown]>([
      ['a bug of the handler', new TypeError('x is undefined')],
      ['a permanent error', new PermanentError('bad input')],
      ['an answer of 404', Object.assign(new Error(), { status: 404 })],
      ['an answer of 429', Object.assign(new Error(), { status: 429 })],
      ['a broken constraint', Object.assign(new Error(), { code: '23505' })],
      ['a text', 'thrown'],
    ])('not by %s, which is an answer', async (_, error) => {
      const self = dependency()
      await self.fail('m1', 'm2')
      for (let n = 0; n < 20; n++)
        expect(await rejection(self.call(`b${n}`, () => Promise.reject(error as Error)))).toBe(error)
      await self.fail('m3', 'm4')
      expect(self.circuit.state).toBe('closed')
    })

    it('never by a permanent error, whatever looksDown says: it surfaces', async () => {
      const self = dependency({ looksDown: () => true })
      const never = new PermanentError('bad input')
      for (let n = 0; n < 5; n++) expect(await rejection(self.call(`b${n}`, () => Promise.reject(never)))).toBe(never)
      expect(self.circuit.state).toBe('closed')
    })

    it('not by waits and not by what was stopped from outside, which say nothing', async () => {
      const self = dependency()
      await self.fail('m1', 'm2')
      for (let n = 0; n < 5; n++) {
        await self.call(`w${n}`, () => Promise.reject(new RetryLater(5))).catch(ignore)
        const stop = new AbortController()
        const stopping = self.call(
          `s${n}`,
          () => {
            stop.abort(new Error('shutdown'))
            return failing()
          },
          stop.signal,
        )
        expect(await rejection(stopping)).toMatchObject({ code: 'ECONNREFUSED' })
      }
      expect(self.circuit.state).toBe('closed')
      await self.fail('m3')
      expect(self.circuit.state).toBe('open')
    })

    it('by our own time-out, which aborts the signal of the call', async () => {
      const { clock, circuit } = dependency()
      const step = pipeline<null>('orders')
        .use(timeout({ afterMs: 100, clock }))
        .handle(({ message, signal }) =>
          circuit.run(
            () => new Promise((_, reject) => signal.addEventListener('abort', () => reject(new Error('cut')))),
            {
              signal,
              id: message.id,
            },
          ),
        )
      for (const id of ['m1', 'm2', 'm3']) void step.dispatch({ message: { id, body: null } }).catch(ignore)
      await clock.advance(100)
      expect(circuit.state).toBe('open')
    })

    it('B-11: by what looksDown says, and by the default where that throws', async () => {
      const told = watch('option-failed')
      const own = dependency({ looksDown: (error) => error instanceof RangeError })
      await own.fail('m1', 'm2', 'm3')
      expect(own.circuit.state).toBe('closed')
      for (const id of ['m4', 'm5', 'm6']) await own.call(id, () => Promise.reject(new RangeError())).catch(ignore)
      expect(own.circuit.state).toBe('open')
      const broken = dependency({ looksDown: () => expect.fail('broken') })
      const answer = new TypeError('the handler’s own')
      expect(await rejection(broken.call('m0', () => Promise.reject(answer)))).toBe(answer)
      await broken.fail('m1', 'm2', 'm3')
      expect(broken.circuit.state).toBe('open')
      expect(told.map(({ option }) => option)).toEqual(Array(4).fill('circuitBreaker: looksDown'))
    })
  })

  describe('an attempt', () => {
    it('does not count while the dependency answers nobody: the message waits, by itself and ever longer', async () => {
      const unproven = watch('attempt-unproven')
      const self = dependency({ openAfter: 100 })
      const waits: number[] = []
      for (let n = 0; n < 8; n++) {
        const error = await rejection(self.call('m1', failing))
        expect(error).toMatchObject({ code: 'retry-later', holds: 'message', cause: { code: 'ECONNREFUSED' } })
        waits.push(isRetryLater(error) ? error.afterMs : NaN)
      }
      // 0.75 of 200, 400, … 5,000 ms.
      expect(waits).toEqual([150, 300, 600, 1_200, 2_400, 3_750, 3_750, 3_750])
      expect(unproven.map(({ failures }) => failures)).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
      expect(self.circuit.health().details).toMatchObject({ unproven: 8 })
    })

    it('counts where somebody was answered since it began and most others got through: the error surfaces', async () => {
      const self = dependency()
      await self.call('before')
      const answer = Promise.withResolvers<never>()
      const call = watched(self.call('m1', () => answer.promise))
      for (const id of ['a', 'b', 'c']) await self.call(id)
      const error = refused()
      answer.reject(error)
      await self.clock.advance(0)
      expect(call.now.error).toBe(error)
    })

    it('does not count where nobody was answered since it began, however well the others fared before', async () => {
      const self = dependency()
      for (const id of ['a', 'b', 'c']) await self.call(id)
      expect(await rejection(self.call('m1', failing))).toMatchObject({ code: 'retry-later', holds: 'message' })
    })

    it('that fails at once counts from its second one on, where others were answered meanwhile and none failed anew', async () => {
      const self = dependency()
      for (const id of ['a', 'b', 'c']) await self.call(id)
      expect(await rejection(self.call('m1', failing))).toMatchObject({ code: 'retry-later' })
      // Nobody was answered since: it may be an outage that only this message has met.
      expect(await rejection(self.call('m1', failing))).toMatchObject({ code: 'retry-later' })
      await self.call('d')
      expect(await rejection(self.call('m1', failing))).toMatchObject({ code: 'ECONNREFUSED' })
      // Another message failed since the last answer: an outage may have begun.
      await self.call('e')
      await self.fail('m2')
      expect(await rejection(self.call('m1', failing))).toMatchObject({ code: 'retry-later' })
    })

    it.each([
      [0.49, 'retry-later'],
      [0.51, 'ECONNREFUSED'],
    ])('counts with the share of others that got through: at one half a die of %d says %s', async (die, code) => {
      const self = dependency({ openAfter: 100, random: () => die })
      const answer = Promise.withResolvers<never>()
      const call = watched(self.call('m1', () => answer.promise))
      await self.fail('x1', 'x2')
      for (const id of ['a', 'b']) await self.call(id)
      answer.reject(refused())
      await self.clock.advance(0)
      expect(call.now.error).toMatchObject({ code })
    })

    it('is judged by the last 20 messages of the last 10 s', async () => {
      const self = dependency({ openAfter: 100 })
      const started = (id: string) => {
        const answer = Promise.withResolvers<never>()
        return { call: watched(self.call(id, () => answer.promise)), fail: () => answer.reject(refused()) }
      }
      for (let n = 0; n < 20; n++) await self.fail(`x${n}`)
      const many = started('m1')
      for (let n = 0; n < 19; n++) await self.call(`a${n}`)
      many.fail()
      await self.clock.advance(0)
      expect(many.call.now.error).toMatchObject({ code: 'ECONNREFUSED' })
      await self.clock.advance(10_001)
      for (let n = 0; n < 5; n++) await self.fail(`y${n}`)
      await self.clock.advance(10_001)
      const old = started('m2')
      await self.call('b')
      old.fail()
      await self.clock.advance(0)
      expect(old.call.now.error).toMatchObject({ code: 'ECONNREFUSED' })
    })

    it('a short outage dead-letters nothing: no attempt is used up in it', async () => {
      const clock = fakeClock()
      const circuit = circuitBreaker({ name: 'payment-api', clock, random: () => 0.5 })
      let up = true
      const step = pipeline<null>('orders')
        .use(retry({ maxAttempts: 3, clock, random: () => 0.5 }))
        .use(circuit)
        .handle(() => (up ? works() : failing()))
      const outcomes: { readonly now: Watched<unknown> }[] = []
      const errors: unknown[] = []
      const deliver = (id: string): void => {
        const outcome = watched(
          step.dispatch({ message: { id, body: null } }).catch((error: unknown) => {
            if (isRetryLater(error)) clock.after(error.afterMs, () => deliver(id))
            else errors.push(error)
          }),
        )
        outcomes.push(outcome)
      }
      for (let ms = 0; ms < 8_000; ms += 20) {
        up = ms < 1_000 || ms >= 5_000
        deliver(`m${ms}`)
        await clock.advance(20)
      }
      await clock.advance(30_000)
      expect(errors).toEqual([])
      expect(circuit.state).toBe('closed')
    })
  })

  describe('open', () => {
    it('B-2: hands work back untried, for as long as it stays open, as a wait for everybody', async () => {
      const self = await opened()
      await self.clock.advance(400)
      const error = await rejection(self.call('m4', () => expect.fail('started')))
      expect(error).toMatchObject({ code: 'retry-later', holds: 'pipeline', afterMs: 600 })
      expect(error.message).toBe('circuit payment-api is open')
    })

    it('stays open half as long again after each failed probe, at most maxOpenMs, and from openMs after it closed', async () => {
      const self = await opened()
      const stretches: number[] = []
      for (let probe = 0; probe < 6; probe++) {
        const error = await rejection(self.call(`wait${probe}`))
        const ms = isRetryLater(error) ? error.afterMs : NaN
        stretches.push(ms)
        await self.clock.advance(ms)
        await self.fail(`probe${probe}`)
      }
      expect(stretches).toEqual([1_000, 1_500, 2_250, 3_375, 5_000, 5_000])
      await self.clock.advance(5_000)
      await self.call('good')
      await self.fail('a', 'b', 'c')
      expect(await rejection(self.call('d'))).toMatchObject({ afterMs: 1_000 })
    })

    it.each([
      [0, 750],
      [1, 1_250],
    ])('is spread by a quarter either way: a die of %d makes it %d ms', async (die, afterMs) => {
      const self = await opened({ random: () => die })
      expect(await rejection(self.call('m4'))).toMatchObject({ afterMs })
    })

    it('lasts at least as long as Retry-After says', async () => {
      const self = dependency()
      const busy = Object.assign(new Error('503'), { status: 503, headers: { 'retry-after': '7' } })
      for (const id of ['m1', 'm2', 'm3']) await self.call(id, () => Promise.reject(busy)).catch(ignore)
      expect(await rejection(self.call('m4'))).toMatchObject({ holds: 'pipeline', afterMs: 7_000 })
    })
  })

  describe('the probe', () => {
    it('is one call; the others are handed back until it comes to its end, and it closes the circuit', async () => {
      const self = await opened()
      await self.clock.advance(1_000)
      const answer = Promise.withResolvers<void>()
      const probe = watched(self.call('m4', () => answer.promise))
      for (const id of ['m5', 'm6'])
        expect(await rejection(self.call(id, () => expect.fail('started')))).toMatchObject({
          ...{ code: 'retry-later', holds: 'pipeline', afterMs: 250, message: 'circuit payment-api is being probed' },
        })
      expect(self.circuit.state).toBe('half-open')
      answer.resolve()
      await self.clock.advance(0)
      expect(probe.now.state).toBe('fulfilled')
      expect(self.circuit.state).toBe('closed')
    })

    it('F-4, F-5: that fails is no attempt and holds the pipeline for as long as the circuit stays open', async () => {
      const self = await opened()
      await self.call('answered before').catch(ignore)
      await self.clock.advance(1_000)
      expect(await rejection(self.call('m4', failing))).toMatchObject({
        ...{ code: 'retry-later', holds: 'pipeline', afterMs: 1_500, cause: { code: 'ECONNREFUSED' } },
      })
    })

    it('F-3: is not a message that failed by itself while one waits that failed less often', async () => {
      const self = await opened()
      await self.call('fresh').catch(ignore)
      await self.clock.advance(1_000)
      expect(await rejection(self.call('m1', () => expect.fail('started')))).toMatchObject({ holds: 'pipeline' })
      expect(await self.call('fresh')).toBe('answer')
      expect(self.circuit.state).toBe('closed')
    })

    it('is any message where the better one does not come within a quarter of a second', async () => {
      const self = await opened()
      await self.call('fresh').catch(ignore)
      await self.clock.advance(1_250)
      expect(await self.call('m1')).toBe('answer')
    })

    it('closes it with any answer, an error of the handler too', async () => {
      const self = await opened()
      await self.clock.advance(1_000)
      await self.call('m4', () => Promise.reject(new TypeError('x'))).catch(ignore)
      expect(self.circuit.state).toBe('closed')
    })

    it('that was stopped proves nothing: the next call is the probe', async () => {
      const self = await opened()
      await self.clock.advance(1_000)
      await self.call('m4', () => Promise.reject(new RetryLater(5))).catch(ignore)
      expect(self.circuit.state).toBe('half-open')
      expect(await self.call('m5')).toBe('answer')
    })

    it('without an answer counts as failed after probeTimeoutMs, and its late end changes nothing', async () => {
      const unhandled = watchUnhandled()
      const settled = watch('probe-settled')
      const self = await opened({ probeTimeoutMs: 2_000 })
      await self.clock.advance(1_000)
      const answer = Promise.withResolvers<void>()
      const probe = watched(self.call('m4', () => answer.promise))
      await self.clock.advance(2_000)
      expect(self.circuit.state).toBe('open')
      expect(probe.now.state).toBe('pending')
      answer.resolve()
      await self.clock.advance(0)
      expect(probe.now.state).toBe('fulfilled')
      expect(self.circuit.state).toBe('open')
      await self.clock.advance(1_500)
      await self.call('m5')
      expect(self.circuit.state).toBe('closed')
      expect(settled.map(({ result }) => result)).toEqual(['too-late', 'answered'])
      expect(unhandled).toEqual([])
    })
  })

  it('failures that began before it opened do not open it again once a probe has closed it', async () => {
    const self = dependency()
    const slow = Promise.withResolvers<never>()
    const inFlight = Array.from({ length: 10 }, (_, n) => watched(self.call(`slow${n}`, () => slow.promise)))
    await self.fail('m1', 'm2', 'm3')
    await self.clock.advance(1_000)
    await self.call('m4')
    slow.reject(refused())
    await self.clock.advance(0)
    expect(inFlight.every(({ now }) => now.state === 'rejected')).toBe(true)
    expect(self.circuit.state).toBe('closed')
  })

  describe('F-6: after it closed', () => {
    /** Calls that the test ends. */
    function held(self: Dependency) {
      const running: { readonly end: (error?: Error) => void }[] = []
      return {
        running,
        start: (id: string, signal?: AbortSignal) =>
          watched(
            self.call(
              id,
              () =>
                new Promise<void>((resolve, reject) => {
                  const one = {
                    end(error?: Error) {
                      running.splice(running.indexOf(one), 1)
                      if (error === undefined) resolve()
                      else reject(error)
                    },
                  }
                  running.push(one)
                }),
              signal,
            ),
          ),
      }
    }

    async function closedAgain(options?: Partial<CircuitBreakerOptions>): Promise<Dependency> {
      const self = await opened(options)
      await self.clock.advance(1_000)
      await self.call('probe')
      return self
    }

    it('lets two run at once, one more for each round of successes, and all once maxRamp is reached', async () => {
      const self = await closedAgain({ maxRamp: 6 })
      const { running, start } = held(self)
      for (let n = 0; n < 100; n++) start(`n${n}`)
      const widths: number[] = []
      for (let round = 0; round < 6; round++) {
        await self.clock.advance(0)
        widths.push(running.length)
        for (const each of [...running]) each.end()
      }
      const ramp = widths.filter((width) => width <= 6)
      expect(ramp[0]).toBe(2)
      for (const [n, width] of ramp.slice(1).entries()) expect(width - (ramp[n] ?? 0)).toBeLessThanOrEqual(1)
      expect(ramp.length).toBeGreaterThanOrEqual(4)
      expect(widths.at(ramp.length)).toBeGreaterThan(6)
    })

    it('is halved by a failure, once for those that fail together', async () => {
      const self = await closedAgain()
      const { running, start } = held(self)
      for (let n = 0; n < 200; n++) start(`n${n}`)
      for (let round = 0; round < 12; round++) {
        await self.clock.advance(0)
        for (const each of [...running]) each.end()
      }
      await self.clock.advance(0)
      const before = running.length
      expect(before).toBeGreaterThanOrEqual(6)
      running[0]?.end(refused())
      running[0]?.end(refused())
      await self.clock.advance(0)
      for (const each of [...running]) each.end()
      await self.clock.advance(0)
      expect(running.length).toBeLessThan(before)
      expect(running.length).toBeGreaterThanOrEqual(Math.floor(before / 2) - 1)
    })

    /** Rounds in which what runs ends, and `fails` says how. Returns how many ran at once at most. */
    async function widest(rounds: number, fails: (ofRound: number, ended: number) => boolean): Promise<number> {
      const self = await closedAgain()
      const { running, start } = held(self)
      let [ended, most] = [0, 0]
      for (let n = 0; n < 4_000; n++) start(`n${n}`)
      for (let round = 0; round < rounds; round++) {
        await self.clock.advance(150)
        const all = [...running]
        most = Math.max(most, all.length)
        all.forEach((each, at) => each.end(fails(at, ended++) ? refused() : undefined))
      }
      return most
    }

    it('F-19: is not held down by messages that fail by themselves', async () => {
      // Every third fails, however few run.
      expect(await widest(200, (_, ended) => ended % 3 === 0)).toBeGreaterThan(64)
    })

    it('is held down by what the dependency cannot take, and where most fail', async () => {
      const overloaded = await widest(200, (ofRound) => ofRound >= 12)
      expect(overloaded).toBeLessThanOrEqual(16)
      expect(await widest(200, (_, ended) => ended % 3 !== 0)).toBeLessThanOrEqual(8)
    })

    it('hands back what is stopped while it waits for a place, and never starts it', async () => {
      const self = await closedAgain()
      const { running, start } = held(self)
      const stop = new AbortController()
      start('a')
      start('b')
      const waiting = start('c', stop.signal)
      await self.clock.advance(0)
      stop.abort(new Error('shutdown'))
      await self.clock.advance(0)
      expect(waiting.now.error).toMatchObject({ code: 'retry-later', cause: { message: 'shutdown' } })
      for (const each of [...running]) each.end()
      await self.clock.advance(0)
      expect(running).toEqual([])
    })

    it('refuses what waits for a place when it opens again', async () => {
      const self = await closedAgain({ openAfter: 1 })
      const { running, start } = held(self)
      start('a')
      start('b')
      const waiting = start('c')
      await self.clock.advance(0)
      running[0]?.end(refused())
      await self.clock.advance(0)
      expect(waiting.now.error).toMatchObject({ code: 'retry-later', holds: 'pipeline' })
    })

    it('runs what waited in its own async context', async () => {
      const context = new AsyncLocalStorage<string>()
      const self = await closedAgain()
      const seen: string[] = []
      const ids = Array.from({ length: 12 }, (_, n) => `n${n}`)
      const work = async (id: string) => {
        await self.clock.advance(0)
        seen.push(`${id} ${context.getStore()}`)
      }
      await Promise.all(ids.map((id) => context.run(id, () => self.call(id, () => work(id)))))
      expect(seen.toSorted()).toEqual(ids.map((id) => `${id} ${id}`).toSorted())
    })
  })

  describe('429', () => {
    const busy = (headers: unknown): Error => Object.assign(new Error('429'), { response: { status: 429, headers } })

    it('comes again when Retry-After says, as no attempt, and opens nothing', async () => {
      const self = dependency()
      const wallMs = self.clock.wall()
      for (const [headers, afterMs] of [
        [{ 'retry-after': '3' }, 3_000],
        [new Headers({ 'retry-after': '4' }), 4_000],
        [{ 'retry-after': new Date(wallMs + 9_000).toUTCString() }, 9_000],
        [{ 'retry-after': '864000' }, 300_000],
      ] as const)
        expect(await rejection(self.call('m1', () => Promise.reject(busy(headers))))).toMatchObject({
          ...{ code: 'retry-later', holds: 'message', afterMs },
        })
      for (const headers of [{}, { 'retry-after': 'soon' }, undefined]) {
        const error = busy(headers)
        expect(await rejection(self.call('m1', () => Promise.reject(error)))).toBe(error)
      }
      expect(self.circuit.state).toBe('closed')
    })
  })

  describe('by', () => {
    it('has a circuit for each group; an open one holds the keys of its messages and nobody else', async () => {
      const clock = fakeClock()
      const circuit = circuitBreaker({
        ...{ name: 'payment-api', openAfter: 2, clock, random: () => 0.5 },
        by: ({ key }) => key ?? '',
      })
      const step = pipeline<null>('orders')
        .use(circuit)
        .handle(({ message }) => (message.key === 'ada' ? failing() : works()))
      const dispatch = (id: string, key: string) => step.dispatch({ message: { id, key, body: null } })
      for (const id of ['m1', 'm2']) await dispatch(id, 'ada').catch(ignore)
      expect(await rejection(dispatch('m3', 'ada'))).toMatchObject({ holds: 'lane' })
      expect(await dispatch('m4', 'bob')).toBe('handled')
      expect(health(circuit)).toMatchObject({ ready: true, parts: [{ details: { state: 'open', open: 1 } }] })
      expect(await rejection(circuit.run(works, { group: 'ada' }))).toMatchObject({ holds: 'lane' })
      expect(await circuit.run(works, { group: 'bob' })).toBe('answer')
      await expect(circuit.run(works)).rejects.toThrow('circuitBreaker: group must be given to run(), got undefined')
    })

    it('remembers 10,000 groups, and never forgets an open one', async () => {
      const clock = fakeClock()
      const circuit = circuitBreaker({ name: 'api', openAfter: 1, clock, by: ({ key }) => key ?? '' })
      await circuit.run(failing, { group: 'open' }).catch(ignore)
      for (let n = 0; n < 10_500; n++) await circuit.run(works, { group: `tenant-${n}` })
      expect(await rejection(circuit.run(works, { group: 'open' }))).toMatchObject({ holds: 'lane' })
    })
  })

  it('observe: counts and tells everything, refuses nothing and replaces no error', async () => {
    const changes = watch('circuit-changed')
    const self = dependency({ observe: true })
    for (const id of ['m1', 'm2', 'm3', 'm4']) {
      const error = refused()
      expect(await rejection(self.call(id, () => Promise.reject(error)))).toBe(error)
    }
    expect(self.circuit.state).toBe('open')
    expect(await self.call('m5')).toBe('answer')
    await self.clock.advance(1_000)
    expect(await self.call('m6')).toBe('answer')
    expect(changes.map(({ to, observed }) => [to, observed])).toEqual([
      ['open', true],
      ['half-open', true],
      ['closed', true],
    ])
  })

  it('as a stage is refused where its probe may take less time than an attempt', () => {
    const build = (probeTimeoutMs: number): unknown =>
      pipeline('orders')
        .use(retry())
        .use(dependency({ probeTimeoutMs }).circuit)
        .use(timeout({ afterMs: 5_000 }))
        .handle(ignore)
    expect(() => build(4_999)).toThrow(
      "circuitBreaker: probeTimeoutMs must be at least the pipeline's timeout() (5000 ms), got 4999",
    )
    expect(build(5_000)).toBeDefined()
  })

  it('as a stage shares its circuit with run(), and is refused outside retry()', async () => {
    const self = dependency()
    const step = pipeline<null>('orders').use(self.circuit).handle(failing)
    for (const id of ['m1', 'm2']) await step.dispatch({ message: { id, body: null } }).catch(ignore)
    await self.fail('m3')
    expect(await rejection(step.dispatch({ message: { id: 'm4', body: null } }))).toMatchObject({ holds: 'pipeline' })
    expect(() => pipeline('orders').use(self.circuit).use(retry()).handle(ignore)).toThrow(
      'orders: retry must stand outside circuit-breaker: it must see every attempt',
    )
  })

  it('run() hands its signal to the work, starts nothing that is aborted, and takes a synchronous throw for a failure', async () => {
    const self = dependency({ openAfter: 1 })
    const { signal } = new AbortController()
    expect(await self.circuit.run((given) => Promise.resolve(given === signal), { signal })).toBe(true)
    const reason = new Error('shutdown')
    const stopped = self.circuit.run(() => expect.fail('started'), { signal: AbortSignal.abort(reason) })
    expect(await rejection(stopped)).toBe(reason)
    const throwing = (): Promise<never> => {
      throw refused()
    }
    expect(await rejection(self.call('m1', throwing))).toMatchObject({ cause: { code: 'ECONNREFUSED' } })
    expect(self.circuit.state).toBe('open')
  })

  it('tells its changes to onChange and as events, and its health as data; an onChange that throws is told', async () => {
    const told = watch('option-failed')
    const changes = watch('circuit-changed')
    const seen: string[] = []
    const self = await opened({
      onChange({ from, to }) {
        seen.push(`${from} → ${to}`)
        throw new Error('not interested')
      },
    })
    await self.clock.advance(100)
    expect(self.circuit.health()).toEqual({
      ...{ name: 'circuit payment-api', live: true, ready: false },
      details: { state: 'open', scope: 'process', retryInMs: 900, unproven: 3 },
    })
    await self.clock.advance(900)
    await self.call('m4')
    expect(seen).toEqual(['closed → open', 'open → half-open', 'half-open → closed'])
    expect(changes.map(({ name, from, to, scope }) => `${name} ${scope}: ${from} → ${to}`)).toEqual(
      seen.map((change) => `payment-api process: ${change}`),
    )
    expect(told).toHaveLength(3)
    expect(health(self.circuit)).toMatchObject({ ready: true })
  })

  it.each<[object, string]>([
    [{}, 'circuitBreaker: name must be a text that is not empty, got undefined'],
    [{ name: 'a', openAfter: 0 }, 'circuitBreaker: openAfter must be an integer of at least 1, got 0'],
    [{ name: 'a', openMs: 0 }, 'circuitBreaker: openMs must be a number of ms of at least 1, got 0'],
    [{ name: 'a', maxOpenMs: 10 }, 'circuitBreaker: maxOpenMs must be at least openMs (1000), got 10'],
    [{ name: 'a', halfOpenAfterMs: 10 }, "circuitBreaker: unknown option 'halfOpenAfterMs'"],
  ])('refuses %o', (options, message) => {
    expect(() => circuitBreaker(options as CircuitBreakerOptions)).toThrow(message)
  })
})
