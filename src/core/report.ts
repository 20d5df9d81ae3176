import { textOf } from './errors.ts'

const reported = new WeakSet<object>()

/**
 * Calls a function of the user's that must not decide over a message by throwing: a listener, a predicate, a redactor.
 * What it throws is reported as a process warning, once for each function, and `otherwise` applies.
 */
export function calledSafely<Args extends readonly unknown[], Result>(
  what: string,
  call: (...args: Args) => Result,
  otherwise: Result,
  ...args: Args
): Result {
  try {
    const result = call(...args)
    // An async function where a plain one is expected: its rejection would end the process.
    if (result instanceof Promise) result.catch((error: unknown) => report(what, call, error))
    return result
  } catch (error) {
    report(what, call, error)
    return otherwise
  }
}

function report(what: string, call: object, error: unknown): void {
  if (reported.has(call)) return
  reported.add(call)
  const { errorName, errorMessage } = textOf(error)
  process.emitWarning(`${what} threw ${errorName}: ${errorMessage}`, {
    type: 'HoldfastWarning',
    detail: 'Reported once.',
  })
}
