/** What hangs on a signal: a link in its chain, so that joining and leaving cost a few pointers. */
class Dependent {
  prior: Dependent = this
  following: Dependent = this

  join(chain: Dependent): void {
    this.prior = chain.prior
    this.following = chain
    chain.prior.following = this
    chain.prior = this
  }

  /** Does nothing where it stands in no chain. */
  leave(): void {
    this.prior.following = this.following
    this.following.prior = this.prior
    this.prior = this
    this.following = this
  }

  abort(_reason: unknown): void {}
}

// Notes on the signal itself: a WeakMap with a signal for each attempt as its keys costs 1.4 µs a key on Node 24.
const owned = Symbol('owned')
const chain = Symbol('chain')

interface Noted extends AbortSignal {
  [owned]?: true
  [chain]?: Dependent
}

/**
 * A signal that also aborts when its parent does.
 * `AbortSignal.any` costs 0.9 µs and 1.1 KB each on Node 24, and a listener on the parent for every child leaks where
 * the parent is the whole process's: here each parent is listened to once, and a child of a child needs no listener.
 */
export class ChildSignal extends Dependent {
  readonly signal: AbortSignal
  readonly #controller = new AbortController()

  constructor(parent: AbortSignal) {
    super()
    const signal: Noted = this.#controller.signal
    signal[owned] = true
    this.signal = signal
    if (parent.aborted) this.#controller.abort(parent.reason)
    else this.join(chainOf(parent))
  }

  override abort(reason: unknown): void {
    const signal: Noted = this.signal
    if (signal.aborted) return
    this.leave()
    this.#controller.abort(reason)
    if (signal[chain] !== undefined) abortAll(signal[chain], reason)
  }

  /** The work is over: the parent forgets this child. */
  end(): void {
    this.leave()
  }
}

/**
 * Calls back once when the signal aborts; the returned function ends that, at no more cost for thousands on one signal
 * than for one. A signal that is aborted already calls nobody.
 */
export function whenAborted(signal: AbortSignal, callback: (reason: unknown) => void): () => void {
  const dependent = new Dependent()
  dependent.abort = callback
  if (!signal.aborted) dependent.join(chainOf(signal))
  return () => dependent.leave()
}

/** The promise, or a rejection with the signal's reason as soon as that aborts: nobody waits longer than the signal. */
export function untilAborted<T>(signal: AbortSignal, promise: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const fail = (): void => reject(abortedBy(signal))
    if (signal.aborted) fail()
    const forget = whenAborted(signal, fail)
    promise.finally(forget).then(resolve, reject)
  })
}

/** The reason of an aborted signal, as an error. */
export function abortedBy({ reason }: AbortSignal): Error {
  return reason instanceof Error ? reason : new Error('aborted', { cause: reason })
}

function chainOf(parent: Noted): Dependent {
  if (parent[chain] !== undefined) return parent[chain]
  const dependents = new Dependent()
  parent[chain] = dependents
  if (parent[owned] !== true)
    parent.addEventListener('abort', () => abortAll(dependents, parent.reason), { once: true })
  return dependents
}

function abortAll(dependents: Dependent, reason: unknown): void {
  for (let first = dependents.following; first !== dependents; first = dependents.following) {
    first.leave()
    first.abort(reason)
  }
}

/** A signal that never aborts, for callers who have none. */
export const neverAborts: AbortSignal = new AbortController().signal
