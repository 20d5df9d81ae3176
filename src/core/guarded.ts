import { emitter } from './events.ts'
import { HoldfastError } from './errors.ts'

const optionFailed = emitter('option-failed')

/** Tells that a function given as an option failed. What it threw never takes the place of the handler's error. */
export function tellFailed(option: string, error: unknown): void {
  if (optionFailed.active()) optionFailed.publish({ option, error })
}

/** What the function answers; where it throws, or where its answer does not fit, that is told and `otherwise` decides. */
export function guarded<T>(
  option: string,
  ask: () => T,
  fits: (answer: T) => boolean,
  otherwise: () => T,
  wanted: string,
): T {
  try {
    const answer = ask()
    if (fits(answer)) return answer
    tellFailed(option, new HoldfastError('bad-option', `${option} must answer ${wanted}`))
  } catch (error) {
    tellFailed(option, error)
  }
  return otherwise()
}

/** Asks a predicate. Where it throws, or answers with a promise, that is told and the answer is `otherwise`. */
export function asks(option: string, predicate: () => unknown, otherwise: boolean): boolean {
  return Boolean(guarded<unknown>(option, predicate, isNoPromise, () => otherwise, 'true or false, not a promise'))
}

/** Asks for a time in ms. Where there is none to be had, that is told and `otherwise` answers. */
export function asksMs(option: string, ask: () => number, otherwise: () => number): number {
  return guarded(option, ask, (ms) => typeof ms === 'number' && !Number.isNaN(ms), otherwise, 'a number of ms')
}

function isNoPromise(answer: unknown): boolean {
  return !(typeof answer === 'object' && answer !== null && 'then' in answer)
}
