import { createRequire, syncBuiltinESMExports } from 'node:module'
import { scopes, type Scope } from './scope.ts'
import { startedAtMs } from './simulated-clock.ts'

// The very objects that everybody shares: an `import` would give copies of their properties.
const require = createRequire(import.meta.url)
const timers = shared('node:timers')
const promises = shared('node:timers/promises')
const cryptography = shared('node:crypto')

function shared(name: string): object {
  const module: unknown = require(name)
  if (typeof module !== 'object' || module === null) throw new TypeError(`${name} is no module`)
  return module
}

let users = 0
let restore = (): void => {}

/**
 * Leads real clocks, timers and dice into the simulation, but only where code runs inside a delivery: the test
 * runner's own stay real. The returned function ends that.
 */
export function ambient(): () => void {
  if (users++ === 0) restore = install()
  let over = false
  return () => {
    if (over) return
    over = true
    if (--users === 0) restore()
  }
}

type Callback = (...args: unknown[]) => void

function install(): () => void {
  const undo: (() => void)[] = []

  /** `inside` gets the real function too, and is called only inside a delivery. */
  function patch(target: object, name: string, inside: (scope: Scope, args: unknown[]) => unknown): void {
    const real: unknown = Reflect.get(target, name)
    if (typeof real !== 'function') return
    const patched = function (this: unknown, ...args: unknown[]): unknown {
      const scope = scopes.getStore()
      return scope === undefined ? Reflect.apply(real, this, args) : inside(scope, args)
    }
    // Such as `setTimeout[util.promisify.custom]`.
    Object.defineProperties(patched, Object.getOwnPropertyDescriptors(real))
    Reflect.set(target, name, patched)
    undo.push(() => Reflect.set(target, name, real))
  }

  const cancels = new WeakMap<object, () => void>()

  function startTimer({ simulation, process }: Scope, callback: Callback, ms: number, repeats: boolean): object {
    let cancel = (): void => {}
    const arm = (): void => {
      cancel = simulation.after(process, ms, () => {
        if (repeats) arm()
        callback()
      })
    }
    arm()
    const handle = {
      ref: () => handle,
      unref: () => handle,
      hasRef: () => true,
      refresh() {
        cancel()
        arm()
        return handle
      },
      close: () => cancel(),
      [Symbol.dispose]: () => cancel(),
      [Symbol.toPrimitive]: () => 0,
    }
    cancels.set(handle, () => cancel())
    return handle
  }

  const timer = (repeats: boolean, hasDelay: boolean) => (scope: Scope, args: unknown[]) => {
    const [callback, ...rest] = args
    const more = hasDelay ? rest.slice(1) : rest
    if (typeof callback !== 'function') throw new TypeError('the callback must be a function')
    const call = (): void => void Reflect.apply(callback, undefined, more)
    return startTimer(scope, call, hasDelay ? asMs(rest[0]) : 0, repeats)
  }

  for (const target of [globalThis, timers]) {
    patch(target, 'setTimeout', timer(false, true))
    patch(target, 'setInterval', timer(true, true))
    patch(target, 'setImmediate', timer(false, false))
    for (const name of ['clearTimeout', 'clearInterval', 'clearImmediate']) {
      const real: unknown = Reflect.get(target, name)
      // Not only inside: a timer may be cleared from anywhere.
      Reflect.set(target, name, (handle: unknown) => {
        const cancel = typeof handle === 'object' && handle !== null ? cancels.get(handle) : undefined
        if (cancel !== undefined) cancel()
        else if (typeof real === 'function') Reflect.apply(real, undefined, [handle])
      })
      undo.push(() => Reflect.set(target, name, real))
    }
  }
  patch(promises, 'setTimeout', (scope, [ms, value, options]) =>
    wait(scope, asMs(ms), signalOf(options)).then(() => value),
  )
  patch(promises, 'setImmediate', (scope, [value, options]) => wait(scope, 0, signalOf(options)).then(() => value))
  patch(Date, 'now', wallOf)
  patch(performance, 'now', ({ simulation }) => simulation.nowMs)
  patch(Math, 'random', ({ simulation }) => simulation.random())
  for (const target of [cryptography, globalThis.crypto]) patch(target, 'randomUUID', uuidFrom)
  patch(AbortSignal, 'timeout', (scope, [ms]) => {
    const controller = new AbortController()
    scope.simulation.after(scope.process, asMs(ms), () =>
      controller.abort(new DOMException('The operation was aborted due to timeout', 'TimeoutError')),
    )
    return controller.signal
  })
  undo.push(installDate())
  syncBuiltinESMExports()
  return () => {
    for (const one of undo) one()
    syncBuiltinESMExports()
  }
}

/** `new Date()` reads the clock too. */
function installDate(): () => void {
  const real = globalThis.Date
  globalThis.Date = new Proxy(real, {
    construct(target, args: unknown[], newTarget) {
      const scope = args.length === 0 ? scopes.getStore() : undefined
      const made: unknown = Reflect.construct(target, scope === undefined ? args : [wallOf(scope)], newTarget)
      return made instanceof real ? made : new real()
    },
  })
  return () => {
    globalThis.Date = real
  }
}

function wallOf({ simulation, process }: Scope): number {
  return startedAtMs + simulation.nowMs + process.skewMs
}

function uuidFrom({ simulation }: Scope): string {
  const digits = Math.floor(simulation.random() * 2 ** 48).toString(16)
  return `00000000-0000-4000-8000-${digits.padStart(12, '0')}`
}

function wait({ simulation, process }: Scope, ms: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const reason = (): Error =>
      new DOMException('The operation was aborted', { name: 'AbortError', cause: signal?.reason })
    if (signal?.aborted === true) return reject(reason())
    const aborted = (): void => {
      cancel()
      reject(reason())
    }
    const cancel = simulation.after(process, ms, () => {
      signal?.removeEventListener('abort', aborted)
      resolve()
    })
    signal?.addEventListener('abort', aborted, { once: true })
  })
}

function asMs(value: unknown): number {
  return typeof value === 'number' && value > 0 ? value : 0
}

function signalOf(options: unknown): AbortSignal | undefined {
  const signal: unknown = typeof options === 'object' && options !== null ? Reflect.get(options, 'signal') : undefined
  return signal instanceof AbortSignal ? signal : undefined
}
