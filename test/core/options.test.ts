import { describe, expect, it } from 'vitest'
import { isHoldfastError } from '../../src/core/errors.ts'
import { nearest } from '../../src/core/nearest.ts'
import {
  badOption,
  checkOptions,
  count,
  having,
  oneOf,
  required,
  type Kinds,
  requireCount,
  requireMethods,
  requireMs,
  requireOneOf,
  requireText,
} from '../../src/core/options.ts'

const message = (check: () => void): string => {
  try {
    check()
  } catch (error) {
    if (isHoldfastError(error) && error.code === 'bad-option') return error.message
    throw error
  }
  return 'fine'
}

describe('checkOptions', () => {
  interface Example {
    readonly store: object
    readonly maxAttempts?: number
    readonly mode?: 'enforce' | 'observe'
  }
  const kinds: Kinds<Example> = {
    store: required(having('claim', 'renew')),
    maxAttempts: count(),
    mode: oneOf('enforce', 'observe'),
  }
  const store = { claim() {}, renew() {} }
  const said = (options: unknown): string => message(() => checkOptions('example', options as Example, kinds))

  it('returns options that fit, those left out as undefined too', () => {
    const options: Example = { store, maxAttempts: 3 }
    expect(checkOptions('example', options, kinds)).toBe(options)
    expect(said({ store, maxAttempts: undefined })).toBe('fine')
  })

  it.each([
    [null, 'example: options must be an object, got null'],
    [undefined, 'example: options must be an object, got undefined'],
    [5, 'example: options must be an object, got 5'],
    [() => {}, 'example: options must be an object, got a function'],
    [[], 'example: options must be an object, got an array'],
    [{}, 'example: store must be an object with claim(), renew(), got undefined'],
    [{ store: { claim() {} } }, 'example: store must be an object with claim(), renew(), got an object'],
    [{ store: null }, 'example: store must be an object with claim(), renew(), got null'],
    [{ store, maxAttempts: null }, 'example: maxAttempts must be an integer of at least 1, got null'],
    [{ store, mode: 'off' }, "example: mode must be one of 'enforce', 'observe', got 'off'"],
  ])('refuses %o', (options, problem) => {
    expect(said(options)).toBe(problem)
  })

  it('refuses a name that it does not know, with the nearest one that it knows', () => {
    expect(said({ store, attempts: 3 })).toBe("example: unknown option 'attempts'. Did you mean 'maxAttempts'?")
    expect(said({ sotre: store })).toBe("example: unknown option 'sotre'. Did you mean 'store'?")
    expect(said({ store, ttl: 3 })).toBe("example: unknown option 'ttl'. It takes store, maxAttempts, mode.")
    expect(said({ store, toString: 3 })).toContain("unknown option 'toString'")
  })
})

describe('nearest', () => {
  it.each([
    ['maxattempts', 'maxAttempts'],
    ['topic', 'topics'],
    ['leaseMS', 'leaseMs'],
    ['retain', 'retainMs'],
    ['x', undefined],
    ['', undefined],
    ['somethingElse', undefined],
  ])('%s is nearest to %s', (wrong, name) => {
    expect(nearest(wrong, ['maxAttempts', 'topics', 'leaseMs', 'retainMs'])).toBe(name)
  })
})

describe('option checks name the option and the value', () => {
  it.each([
    [1, 'fine'],
    [undefined, 'fine'],
    [0, 'retry: maxAttempts must be an integer of at least 1, got 0'],
    [1.5, 'retry: maxAttempts must be an integer of at least 1, got 1.5'],
    [NaN, 'retry: maxAttempts must be an integer of at least 1, got NaN'],
    [2 ** 60, `retry: maxAttempts must be an integer of at least 1, got ${2 ** 60}`],
  ])('requireCount: %s', (maxAttempts, said) => {
    expect(message(() => requireCount('retry', { maxAttempts }))).toBe(said)
  })

  it.each([
    [0.5, 'timeout: afterMs must be a number of ms of at least 1, got 0.5'],
    [Infinity, 'timeout: afterMs must be a number of ms of at least 1, got Infinity'],
    [1, 'fine'],
    [undefined, 'fine'],
  ])('requireMs: %s', (afterMs, said) => {
    expect(message(() => requireMs('timeout', { afterMs }))).toBe(said)
    expect(message(() => requireMs('timeout', { waitMs: 0 }, 0))).toBe('fine')
  })

  it('takes no text for a number, as JavaScript would', () => {
    const wrong: unknown = '5'
    expect(message(() => requireCount('retry', { maxAttempts: wrong as number }))).toBe(
      "retry: maxAttempts must be an integer of at least 1, got '5'",
    )
    expect(message(() => requireMs('timeout', { afterMs: wrong as number }))).toContain("got '5'")
    expect(message(() => requireText('pipeline', { name: 5 as unknown as string }))).toContain('got 5')
  })

  it('requireText, requireOneOf, requireMethods', () => {
    expect(message(() => requireText('pipeline', { name: '' }))).toBe(
      "pipeline: name must be a text that is not empty, got ''",
    )
    expect(message(() => requireOneOf('idempotency', 'mode', 'off', ['enforce', 'observe']))).toBe(
      "idempotency: mode must be one of 'enforce', 'observe', got 'off'",
    )
    expect(message(() => requireMethods('deadLetter', 'to', { publish: 1 }, ['publish']))).toBe(
      'deadLetter: to must be an object with publish(), got an object',
    )
    expect(message(() => requireMethods('deadLetter', 'to', { publish: () => 1 }, ['publish']))).toBe('fine')
    expect(message(() => requireMethods('deadLetter', 'to', null, ['publish']))).toContain('got null')
  })

  it('shows no more of a value than it has to', () => {
    expect(badOption('x', 'y', 'short', 'a'.repeat(500)).message).toBe(`x: y must be short, got '${'a'.repeat(80)}'`)
    expect(badOption('x', 'y', 'a text', { password: 'p' }).message).toBe('x: y must be a text, got an object')
    expect(badOption('x', 'y', 'a text', ['secret']).message).toBe('x: y must be a text, got an array')
  })
})
