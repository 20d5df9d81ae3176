/**
 * Rejects with what it waited for. Its timer keeps the process alive: else one that waits for an event that never comes would
 * just end.
 */
export async function inTime<T>(what: string, withinMs: number, work: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new Error(`${what} took longer than ${withinMs} ms`)), withinMs)
  return Promise.race([work, late.promise]).finally(() => clearTimeout(timer))
}
