import { systemClock, type Clock } from './clock.ts'
import { textOf } from './errors.ts'
import { subscribe } from './events.ts'
import { checkArgument, checkOptions, clockKind, having, ms, text, type Kinds } from './options.ts'

/** The health of one part. */
export interface Health {
  readonly name: string
  /** False: only a restart helps. */
  readonly live: boolean
  /** False: the part cannot work now. */
  readonly ready: boolean
  readonly details: Readonly<Record<string, unknown>>
}

/** A part with health: a consumer, a breaker, a relay or a store. */
export interface HasHealth {
  health(): Health
}

export interface OverallHealth {
  readonly live: boolean
  readonly ready: boolean
  readonly parts: readonly Health[]
}

/** Combines parts for liveness and readiness probes. It is live if every part is live, and ready if every part is ready. */
export function health(...parts: readonly HasHealth[]): OverallHealth {
  parts.forEach((part, at) => checkArgument('health', `parts[${at}]`, part, having('health')))
  const each = parts.map(ask)
  return { live: each.every(({ live }) => live), ready: each.every(({ ready }) => ready), parts: each }
}

/** A part whose `health()` throws is not ready. */
function ask(part: HasHealth): Health {
  try {
    return part.health()
  } catch (error) {
    return { name: 'unknown', live: true, ready: false, details: { error: textOf(error).errorMessage } }
  }
}

export interface StoreHealthOptions {
  /** How long after a failed call the part stays not ready, in ms. While a store is down it is called about once a second. @defaultValue 10_000 */
  readonly forMs?: number
  readonly clock?: Clock
}

export interface StoreHealth extends HasHealth {
  /** Stops listening to failures. */
  stop(): void
}

/** The health of a store as pipelines and relays see it. Not ready after a failed call, until no call fails for `forMs`. */
export function storeHealth(store: string, options: StoreHealthOptions = {}): StoreHealth {
  checkArgument('storeHealth', 'store', store, text)
  return failureHealth(`store ${store}`, checkOptions('storeHealth', options, healthKinds), (failed) =>
    subscribe('store-failed', (event) => {
      if (event.store === store) failed(event.error, { operation: event.operation })
    }),
  )
}

/** The health of dead-letter publishes. Not ready after a failed one, until none fails for `forMs`. The reason names the destination and the error. */
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
