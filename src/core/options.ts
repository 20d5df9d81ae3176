import { HoldfastError, isObject } from './errors.ts'
import { nearest } from './nearest.ts'

/** What an option may be. */
export interface Kind {
  /** The end of the sentence "option … must be …". */
  readonly wanted: string
  fits(value: unknown): boolean
}

/** A kind for each option of a factory. An option that the type demands needs a kind made by {@link required}. */
export type Kinds<Options> = {
  readonly [Name in keyof Options]-?: Record<never, never> extends Pick<Options, Name>
    ? Kind & { readonly required?: never }
    : Kind & { readonly required: true }
}

/**
 * Checks the options of a factory and returns them, so that the factory can take them apart with its defaults.
 * @throws HoldfastError (`bad-option`) for anything but an object, for unknown names (with the nearest known one), for
 * missing options, and for values of the wrong kind.
 */
export function checkOptions<Options extends object>(where: string, options: Options, kinds: Kinds<Options>): Options {
  if (!isObject(options) || Array.isArray(options)) throw badOption(where, 'options', 'an object', options)
  const known = Object.keys(kinds)
  for (const name of Object.keys(options))
    if (!known.includes(name)) {
      const near = nearest(name, known)
      const hint = near === undefined ? `It takes ${known.join(', ')}.` : `Did you mean '${near}'?`
      throw new HoldfastError('bad-option', `${where}: unknown option '${name.slice(0, 80)}'. ${hint}`)
    }
  for (const [name, kind] of Object.entries<Kind & { readonly required?: true }>(kinds)) {
    const value: unknown = Reflect.get(options, name)
    if (value === undefined ? kind.required : !kind.fits(value)) throw badOption(where, name, kind.wanted, value)
  }
  return options
}

/** Makes an option one that must be given. */
export function required(kind: Kind): Kind & { readonly required: true } {
  return { ...kind, required: true }
}

export function count(least = 1): Kind {
  return {
    wanted: `an integer of at least ${least}`,
    fits: (value) => Number.isSafeInteger(value) && (value as number) >= least,
  }
}

export function ms(least = 1): Kind {
  return {
    wanted: `a number of ms of at least ${least}`,
    fits: (value) => Number.isFinite(value) && (value as number) >= least,
  }
}

export function number(least: number = -Number.MAX_VALUE): Kind {
  return {
    wanted:
      least === -Number.MAX_VALUE
        ? 'a number'
        : least > 0 && least < 1
          ? 'a number above 0'
          : `a number of at least ${least}`,
    fits: (value) => Number.isFinite(value) && (value as number) >= least,
  }
}

export const text: Kind = {
  wanted: 'a text that is not empty',
  fits: (value) => typeof value === 'string' && value !== '',
}

export const flag: Kind = { wanted: 'true or false', fits: (value) => typeof value === 'boolean' }

export const callback: Kind = { wanted: 'a function', fits: (value) => typeof value === 'function' }

export const list: Kind = { wanted: 'an array', fits: (value) => Array.isArray(value) }

/** A record, looked at no further. */
export const objects: Kind = { wanted: 'an object', fits: (value) => isObject(value) && !Array.isArray(value) }

/** For what only its own factory can judge. */
export const anything: Kind = { wanted: 'given', fits: () => true }

export function oneOf(...allowed: readonly unknown[]): Kind {
  return {
    wanted: `one of ${allowed.map(shown).join(', ')}`,
    fits: (value) => allowed.includes(value),
  }
}

/** An object, or a function, that has these methods. */
export function having(...methods: readonly string[]): Kind {
  return {
    wanted: `an object with ${methods.map((method) => `${method}()`).join(', ')}`,
    fits: (value) =>
      (isObject(value) || typeof value === 'function') &&
      methods.every((method) => typeof Reflect.get(value, method) === 'function'),
  }
}

export function either(...kinds: readonly Kind[]): Kind {
  return {
    wanted: kinds.map(({ wanted }) => wanted).join(' or '),
    fits: (value) => kinds.some((kind) => kind.fits(value)),
  }
}

export const clockKind: Kind = having('now', 'wall', 'after')

export const signalKind: Kind = having('addEventListener', 'throwIfAborted')

/** Checks one argument that is no part of an options object: `pipeline: name must be a text that is not empty, got ''`. */
export function checkArgument(where: string, name: string, value: unknown, kind: Kind): void {
  if (!kind.fits(value)) throw badOption(where, name, kind.wanted, value)
}

/** {@link checkArgument} for several at once; what is `undefined` was left out, and passes. */
function checkGiven(where: string, values: Readonly<Record<string, unknown>>, kind: Kind): void {
  for (const [name, value] of Object.entries(values)) if (value !== undefined) checkArgument(where, name, value, kind)
}

export function requireCount(where: string, values: Readonly<Record<string, number | undefined>>, least = 1): void {
  checkGiven(where, values, count(least))
}

export function requireMs(where: string, values: Readonly<Record<string, number | undefined>>, least = 1): void {
  checkGiven(where, values, ms(least))
}

export function requireText(where: string, values: Readonly<Record<string, string | undefined>>): void {
  checkGiven(where, values, text)
}

export function requireOneOf(where: string, name: string, value: unknown, allowed: readonly string[]): void {
  checkArgument(where, name, value, oneOf(...allowed))
}

export function requireMethods(where: string, name: string, value: unknown, methods: readonly string[]): void {
  checkArgument(where, name, value, having(...methods))
}

export function requireFunctions(where: string, values: Readonly<Record<string, unknown>>): void {
  for (const [name, value] of Object.entries(values)) checkArgument(where, name, value, callback)
}

export function badOption(where: string, name: string, wanted: string, got: unknown): HoldfastError {
  return new HoldfastError('bad-option', `${where}: ${name} must be ${wanted}, got ${shown(got)}`)
}

function shown(value: unknown): string {
  if (typeof value === 'string') return `'${value.slice(0, 80)}'`
  if (typeof value === 'object' && value !== null) return Array.isArray(value) ? 'an array' : 'an object'
  return typeof value === 'function' ? 'a function' : String(value)
}
