import { HoldfastError } from './errors.ts'

/** Refuses options that are not integers of at least `least`: `retry: maxAttempts must be an integer of at least 1, got 0`. */
export function requireCount(where: string, options: Readonly<Record<string, number | undefined>>, least = 1): void {
  for (const [name, value] of Object.entries(options))
    if (value !== undefined && !(Number.isSafeInteger(value) && value >= least))
      throw badOption(where, name, `an integer of at least ${least}`, value)
}

/** Refuses options that are not finite numbers of ms above zero (of zero, where `least` says so). */
export function requireMs(where: string, options: Readonly<Record<string, number | undefined>>, least = 1): void {
  for (const [name, value] of Object.entries(options))
    if (value !== undefined && !(typeof value === 'number' && Number.isFinite(value) && value >= least))
      throw badOption(where, name, `a number of ms of at least ${least}`, value)
}

/** Refuses empty or non-text options. */
export function requireText(where: string, options: Readonly<Record<string, string | undefined>>): void {
  for (const [name, value] of Object.entries(options))
    if (value !== undefined && !(typeof value === 'string' && value.length > 0))
      throw badOption(where, name, 'a text that is not empty', value)
}

/** Refuses options outside a closed set. */
export function requireOneOf(where: string, name: string, value: unknown, allowed: readonly string[]): void {
  if (typeof value !== 'string' || !allowed.includes(value))
    throw badOption(where, name, `one of ${allowed.map((each) => `'${each}'`).join(', ')}`, value)
}

/** Refuses a port that lacks what makes it one: `deadLetter: to must have publish()`. */
export function requireMethods(where: string, name: string, value: unknown, methods: readonly string[]): void {
  for (const method of methods)
    if (typeof value !== 'object' || value === null || typeof Reflect.get(value, method) !== 'function')
      throw badOption(where, name, `an object with ${method}()`, value)
}

/** Refuses to do without what has no default: the checks above let `undefined` pass as "left out". */
export function requireGiven(where: string, options: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(options))
    if (value === undefined) throw badOption(where, name, 'given', value)
}

/** Refuses what cannot be called: `handle: handler must be a function, got undefined`. */
export function requireFunctions(where: string, options: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(options))
    if (typeof value !== 'function') throw badOption(where, name, 'a function', value)
}

export function badOption(where: string, name: string, wanted: string, got: unknown): HoldfastError {
  return new HoldfastError('bad-option', `${where}: ${name} must be ${wanted}, got ${shown(got)}`)
}

function shown(value: unknown): string {
  if (typeof value === 'string') return `'${value.slice(0, 80)}'`
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object'
  return typeof value === 'function' ? 'a function' : String(value)
}
