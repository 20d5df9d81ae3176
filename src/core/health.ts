import { systemClock, type Clock } from './clock.ts'
import { textOf } from './errors.ts'
import { subscribe } from './events.ts'
import { checkArgument, checkOptions, clockKind, having, ms, text, type Kinds } from './options.ts'

/** How one part is doing, as data. */
export interface Health {
  readonly name: string
  /** False: nothing but a restart helps. */
  readonly live: boolean
  /** False: it cannot do its work now. */
  readonly ready: boolean
  readonly details: Readonly<Record<string, unknown>>
}

/** What has health to tell: a consumer, a breaker, a relay, a store. */
export interface HasHealth {
  health(): Health
}

export interface OverallHealth {
  readonly live: boolean
  readonly ready: boolean
  readonly parts: readonly Health[]
}

/** Sums up for a liveness and a readiness probe: live while every part is, ready while every part is. */
export function health(...parts: readonly HasHealth[]): OverallHealth {
  parts.forEach((part, at) => checkArgument('health', `parts[${at}]`, part, having('health')))
  const each = parts.map(ask)
  return { live: each.every(({ live }) => live), ready: each.every(({ ready }) => ready), parts: each }
}

/** A probe wants an answer: a part that cannot give one is not ready. */
function ask(part: HasHealth): Health {
  try {
    return part.health()
  } catch (error) {
    return { name: 'unknown', live: true, ready: false, details: { error: textOf(error).errorMessage } }
  }
}

export interface StoreHealthOptions {
  /** How long a failed call counts. While a store is down it is asked again every second or so. @defaultValue 10_000 */
  readonly forMs?: number
  readonly clock?: Clock
}

export interface StoreHealth extends HasHealth {
  /** Listens no more. */
  stop(): void
}

/** A store as pipelines and relays see it: not ready once it did not answer a call, until no call fails for `forMs`. */
export function storeHealth(store: string, options: StoreHealthOptions = {}): StoreHealth {
  checkArgument('storeHealth', 'store', store, text)
  return failureHealth(`store ${store}`, checkOptions('storeHealth', options, healthKinds), (failed) =>
    subscribe('store-failed', (event) => {
      if (event.store === store) failed(event.error, { operation: event.operation })
    }),
  )
}

/** Not ready once a dead letter was not taken, until none fails for `forMs`. Tells the destination and the error. */
export function deadLetterHealth(options: StoreHealthOptions = {}): StoreHealth {
  return failureHealth('dead letters', checkOptions('deadLetterHealth', options, healthKinds), (failed) =>
    subscribe('dead-letter-failed', ({ error, destination }) => failed(error, { destination })),
  )
}

const healthKinds: Kinds<StoreHealthOptions> = { forMs: ms(), clock: clockKind }

function failureHealth(
  name: string,
  { forMs = 10_000, clock = systemClock }: StoreHealthOptions,
  listen: (failed: (error: unknown, details: object) => void) => () => void,
): StoreHealth {
  let failedAtMs = -Infinity
  let last: object = { error: null }
  const stop = listen((error, details) => {
    failedAtMs = clock.now()
    last = { ...details, error: textOf(error).errorMessage }
  })
  return {
    stop,
    health: () => ({
      name,
      live: true,
      ready: clock.now() - failedAtMs >= forMs,
      details: { failedAgoMs: Number.isFinite(failedAtMs) ? clock.now() - failedAtMs : null, ...last },
    }),
  }
}
