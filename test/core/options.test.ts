import { describe, expect, it } from 'vitest'
import { isHoldfastError } from '../../src/core/errors.ts'
import {
  badOption,
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
