import { describe, expect, it } from 'vitest'
import { z } from 'zod'
import { HoldfastError, PermanentError } from '../../src/core/errors.ts'
import { headersFrom, type Message } from '../../src/core/message.ts'
import { defaultRecovery, otherwise, recovery, when } from '../../src/retry/recovery.ts'
import { watch } from '../support/watch.ts'

const message: Message = { id: 'm1', type: 't', key: null, headers: headersFrom([]), body: null, timeMs: 5 }

class RateLimited extends Error {
  readonly retryAfterMs: number
  constructor(retryAfterMs: number) {
    super('slow down')
    this.retryAfterMs = retryAfterMs
  }
}

interface DatabaseError extends Error {
  readonly code: string
}
const isDeadlock = (error: unknown): error is DatabaseError =>
  error instanceof Error && 'code' in error && error.code === '40P01'

describe('the default recovery', () => {
  it.each([
    [new PermanentError('never'), { do: 'dead-letter', reason: 'permanent' }],
    [new HoldfastError('key-conflict', 'other content'), { do: 'dead-letter', reason: 'permanent' }],
    [new HoldfastError('timed-out', 'too late'), { do: 'retry' }],
    [new Error('whatever'), { do: 'retry' }],
    [undefined, { do: 'retry' }],
  ])('B-4: %o → %o', (error, decision) => {
    expect(defaultRecovery(error, 1, message)).toEqual(decision)
  })
})

describe('recovery()', () => {
  it('lets the first row that matches decide, by class, by guard and by predicate', () => {
    const decide = recovery(
      when(RateLimited).after((error) => error.retryAfterMs * 2),
      when(isDeadlock).retry({ backoff: (attempt) => attempt * 10 }),
      when((error) => error === 'poison').discard('a text'),
      when(Error).deadLetter(),
    )
    expect(decide(new RateLimited(21), 1, message)).toEqual({ do: 'defer', afterMs: 42 })
    expect(decide(Object.assign(new Error(), { code: '40P01' }), 3, message)).toEqual({ do: 'retry', afterMs: 30 })
    expect(decide('poison', 1, message)).toEqual({ do: 'discard', reason: 'a text' })
    expect(decide(new TypeError('x'), 1, message)).toEqual({ do: 'dead-letter', reason: 'permanent' })
  })

  it('goes by the default where no row matches', () => {
    const decide = recovery(when(RateLimited).discard('x'))
    expect(decide(new PermanentError('never'), 1, message)).toEqual({ do: 'dead-letter', reason: 'permanent' })
    expect(decide(new Error('x'), 1, message)).toEqual({ do: 'retry' })
    expect(recovery()('x', 1, message)).toEqual({ do: 'retry' })
  })

  describe('a class that does not extend Error', () => {
    class Fault {
      readonly code = 1
    }
    class WithMethod {
      why(): string {
        return 'x'
      }
    }
    function OldStyle(this: { message: string }, message: string): void {
      this.message = message
    }
    /** As zod 4 makes its classes. */
    const made = function made() {}
    Object.defineProperty(made, Symbol.hasInstance, { value: (error: unknown) => error === 'made' })
    const old: unknown = Reflect.construct(OldStyle, ['x'])

    it.each<[string, unknown, unknown]>([
      ['class {}', Fault, new Fault()],
      ['a class with a method', WithMethod, new WithMethod()],
      ['a constructor function', OldStyle, old],
      ['Symbol.hasInstance', made, 'made'],
      ["zod's ZodError", z.ZodError, z.object({ a: z.string() }).safeParse({}).error],
      ["zod's ZodRealError, which claims every error", z.ZodRealError, z.object({ a: z.string() }).safeParse({}).error],
      ['DOMException', DOMException, new DOMException('x', 'AbortError')],
    ])('%s is asked with instanceof and never called', (_, test, own) => {
      const told = watch('option-failed')
      const decide = recovery(when(test as typeof Error).discard('own'))
      expect(decide(own, 1, message)).toEqual({ do: 'discard', reason: 'own' })
      expect(decide(new Error('the network hiccups'), 1, message)).toEqual({ do: 'retry' })
      expect(told).toEqual([])
    })
  })

  it('a predicate that throws or answers with a promise is told, and its row does not match', () => {
    const told = watch('option-failed')
    const decide = recovery(
      when(() => expect.fail('broken')).discard('x'),
      when((() => Promise.resolve(true)) as never).discard('y'),
      when(Error).deadLetter(),
    )
    expect(decide(new Error('x'), 1, message)).toEqual({ do: 'dead-letter', reason: 'permanent' })
    expect(told.map(({ option }) => option)).toEqual(['when: test', 'when: test'])
  })

  it('a time or a backoff that fails is told: a second, or the wait of retry()', () => {
    const told = watch('option-failed')
    const thrown = (): number => expect.fail('no time')
    expect(recovery(otherwise.after(thrown))('x', 1, message)).toEqual({ do: 'defer', afterMs: 1_000 })
    expect(recovery(otherwise.retry({ backoff: thrown }))('x', 1, message)).toEqual({ do: 'retry' })
    expect(told.map(({ option }) => option)).toEqual(['when().after: afterMs', 'when().retry: backoff'])
  })

  it('matches subclasses, and nothing that merely looks alike', () => {
    class Special extends RateLimited {}
    const decide = recovery(when(RateLimited).deadLetter(), otherwise.retry())
    expect(decide(new Special(1), 1, message)).toEqual({ do: 'dead-letter', reason: 'permanent' })
    expect(decide({ name: 'RateLimited', retryAfterMs: 1 }, 1, message)).toEqual({ do: 'retry' })
  })

  it('lets a row have fewer attempts of its own', () => {
    const decide = recovery(when(RateLimited).retry({ maxAttempts: 2 }))
    expect(decide(new RateLimited(1), 1, message)).toEqual({ do: 'retry' })
    expect(decide(new RateLimited(1), 2, message)).toEqual({ do: 'dead-letter', reason: 'attempts' })
  })

  it('takes a backoff as options too', () => {
    const decide = recovery(otherwise.retry({ backoff: { initialMs: 50, jitter: 'none' } }))
    expect([1, 2, 3].map((attempt) => decide('x', attempt, message))).toEqual(
      [50, 100, 200].map((afterMs) => ({ do: 'retry', afterMs })),
    )
  })

  it('shows the message to a row that asks how long', () => {
    const decide = recovery(otherwise.after((_, { timeMs }) => timeMs))
    expect(decide('x', 1, message)).toEqual({ do: 'defer', afterMs: 5 })
  })

  it('does not come back at once where an error names no usable time', () => {
    const decide = recovery(when(RateLimited).after((error) => error.retryAfterMs))
    expect(decide(new RateLimited(NaN), 1, message)).toEqual({ do: 'defer', afterMs: 1000 })
    expect(decide(new RateLimited(-5), 1, message)).toEqual({ do: 'defer', afterMs: 0 })
  })

  it('parks where a row says so', () => {
    expect(recovery(when(RateLimited).park(50))(new RateLimited(1), 1, message)).toEqual({
      do: 'defer',
      afterMs: 50,
      parks: true,
    })
    const asked = recovery(when(RateLimited).park((error) => error.retryAfterMs))
    expect(asked(new RateLimited(7), 1, message)).toEqual({ do: 'defer', afterMs: 7, parks: true })
    expect(() => when(RateLimited).park(-1)).toThrow('when().park: afterMs must be a number of ms of at least 0')
  })

  it('refuses bad rows when it is built', () => {
    expect(() => when(RateLimited).after(-1)).toThrow('when().after: afterMs must be a number of ms of at least 0')
    expect(() => when(RateLimited).discard('')).toThrow('when().discard: reason must be a text that is not empty')
    expect(() => when(RateLimited).retry({ maxAttempts: 0 })).toThrow(
      'when().retry: maxAttempts must be an integer of at least 1, got 0',
    )
    // @ts-expect-error a text is no test
    expect(() => when('ECONNRESET')).toThrow("when: test must be an error class or a function, got 'ECONNRESET'")
    // @ts-expect-error an unfinished row
    expect(() => recovery(when(RateLimited))).toThrow('recovery: rule must be a row such as when(…).retry()')
  })
})
