import { hostname } from 'node:os'
import { systemClock, type Clock } from '../core/clock.ts'
import { staged, type Delivery, type Middleware, type Place } from '../core/delivery.ts'
import { factsOf } from '../core/describe.ts'
import { RetryLater } from '../core/errors.ts'
import type { CircuitChange, CircuitState } from '../core/events.ts'
import type { HasHealth } from '../core/health.ts'
import type { Message } from '../core/message.ts'
import {
  badOption,
  callback,
  checkOptions,
  clockKind,
  count,
  flag,
  having,
  ms,
  required,
  text,
} from '../core/options.ts'
import { neverAborts } from '../core/signals.ts'
import { FleetCircuit } from './circuit/fleet-circuit.ts'
import { Groups } from './circuit/groups.ts'
import { LocalCircuit } from './circuit/local-circuit.ts'
import type { Call, CircuitTerms } from './circuit/terms.ts'
import { dependencyErrors } from './circuit/looks-down.ts'
import { guarded, tellFailed } from '../core/guarded.ts'
import { requireSameTerms } from './same-terms.ts'
import type { Circuits } from './store.ts'

export interface CircuitBreakerOptions {
  /** The name of the dependency, for events, health and messages. */
  readonly name: string
  /**
   * Returns the group of a message, such as its tenant. Each group has its own circuit, and an open one holds the keys of
   * its messages, not the whole pipeline. Only the stage calls it; `run()` gets the group as an option. @defaultValue one circuit for all
   */
  readonly by?: (message: Message) => string
  /** Opens after this many different messages failed for the first time, with no answer in between. @defaultValue 10 */
  readonly openAfter?: number
  /** Returns true for errors that mean that the dependency is down. Every other error counts as an answer. @defaultValue `dependencyErrors` */
  readonly looksDown?: (error: unknown) => boolean
  /** Open time in ms at first. Each failed probe makes it 1.5 times as long, ±25 %. @defaultValue 1_000 */
  readonly openMs?: number
  /** Longest open time in ms. @defaultValue 5_000 */
  readonly maxOpenMs?: number
  /** Longest probe in ms. A probe without an answer by then counts as failed. As a stage, at least `afterMs` of `timeout()`. @defaultValue 10_000 */
  readonly probeTimeoutMs?: number
  /** Highest limit on concurrent calls while load ramps up after closing. Above it there is no limit. @defaultValue 64 */
  readonly maxRamp?: number
  /** Counts and reports everything, but refuses no call. @defaultValue `false` */
  readonly observe?: boolean
  /** Shares the state between processes: `redisCircuits(redis)` or `postgresCircuits(pool)`. @defaultValue this process alone */
  readonly share?: Circuits
  /** Called on every change of state. */
  readonly onChange?: (change: CircuitChange) => void
  readonly clock?: Clock
  /** Random numbers between 0 and 1, for waits and for attempts that count in part. @defaultValue `Math.random` */
  readonly random?: () => number
}

export interface CircuitRunOptions {
  /** Ends the wait for a place, and reaches the work. */
  readonly signal?: AbortSignal
  /** The id of the message that needs the call. Without an id every failure counts as a first one. */
  readonly id?: string
  /** The group of the call, such as its tenant. Required if the circuit has `by`. */
  readonly group?: string
}

/** A circuit breaker. Use it around one call with `run()`, or as a middleware. */
export interface CircuitBreaker extends Middleware, HasHealth {
  readonly state: CircuitState
  /**
   * Makes one call through the circuit.
   * @throws RetryLater while the circuit is open, and for a failure that does not count. Do not catch it: the message waits.
   */
  run<T>(work: (signal: AbortSignal) => Promise<T>, options?: CircuitRunOptions): Promise<T>
}

/**
 * Nacks messages while the dependency is down, instead of calling it. Such a nack is no attempt, and no message is lost.
 * One call probes whether the dependency is back; the others wait.
 */
export function circuitBreaker(options: CircuitBreakerOptions): CircuitBreaker {
  const {
    name,
    by,
    openAfter = 10,
    looksDown = dependencyErrors,
    openMs = 1_000,
    maxOpenMs = 5_000,
    probeTimeoutMs = 10_000,
    maxRamp = 64,
    observe = false,
    share,
    onChange = () => {},
    clock = systemClock,
    random = Math.random,
  } = checkOptions('circuitBreaker', options, {
    name: required(text),
    by: callback,
    openAfter: count(),
    looksDown: callback,
    openMs: ms(),
    maxOpenMs: ms(),
    probeTimeoutMs: ms(),
    maxRamp: count(),
    observe: flag,
    share: having('exchange'),
    onChange: callback,
    clock: clockKind,
    random: callback,
  })
  if (maxOpenMs < openMs) throw badOption('circuitBreaker', 'maxOpenMs', `at least openMs (${openMs})`, maxOpenMs)
  if (share !== undefined)
    requireSameTerms('circuitBreaker', share, name, { openAfter, openMs, maxOpenMs, probeTimeoutMs })
  const terms: CircuitTerms = {
    ...{ name, openAfter, looksDown, openMs, maxOpenMs, probeTimeoutMs, maxRamp, observe, clock, random },
  }
  const changed = (change: CircuitChange): void => {
    try {
      onChange(change)
    } catch (error) {
      tellFailed('circuitBreaker: onChange', error)
    }
  }
  // Readable, since an operator wants to know who probes.
  const owner = `${hostname()}:${process.pid}:${crypto.randomUUID().slice(0, 8)}`

  function make(group: string | null): LocalCircuit {
    const circuit = new LocalCircuit(terms, group, changed)
    const shared = group === null ? name : `${name.length}:${name}:${group}`
    if (share !== undefined) circuit.fleet = new FleetCircuit(shared, share, circuit, terms, owner)
    return circuit
  }

  const whole = make(null)
  const groups = new Groups(make, ({ state, bad }) => state === 'closed' && bad === 0)

  function circuitOf(delivery: Delivery): LocalCircuit {
    if (by === undefined) return whole
    const isText = (group: unknown): boolean => typeof group === 'string'
    return groups.of(
      guarded(
        'circuitBreaker: by',
        () => by(delivery.message),
        isText,
        () => '',
        'a text',
      ),
    )
  }

  const middleware: Middleware = (next, place) => {
    requireLongProbe(place, probeTimeoutMs)
    return function circuitBreaker(delivery) {
      const circuit = circuitOf(delivery)
      const { message, origin, pipeline, signal } = delivery
      const id = `${pipeline} ${origin.destination} ${message.id}`
      return through(circuit, id, signal, () => next(delivery))
    }
  }

  async function run<T>(
    work: (signal: AbortSignal) => Promise<T>,
    { signal = neverAborts, id, group }: CircuitRunOptions = {},
  ): Promise<T> {
    signal.throwIfAborted()
    if ((group === undefined) !== (by === undefined))
      throw badOption('circuitBreaker', 'group', by === undefined ? 'left out without by' : 'given to run()', group)
    const circuit = group === undefined ? whole : groups.of(group)
    return through(circuit, id ?? null, signal, async () => work(signal))
  }

  function health(): ReturnType<HasHealth['health']> {
    const all = by === undefined ? [whole] : [...groups.values()]
    const open = all.filter(({ state }) => state === 'open')
    const waits = open.map(({ reopensAtMs }) => Math.max(0, Math.ceil(reopensAtMs - clock.now())))
    const unproven = all.reduce((sum, circuit) => sum + circuit.unproven, 0)
    const retryInMs = waits.length === 0 ? null : Math.min(...waits)
    const fleet = whole.fleet
    const details = {
      ...{ state: stateOf(), scope: fleet?.scope ?? 'process', retryInMs, unproven },
      ...(fleet !== undefined && {
        epoch: fleet.epoch,
        ...{ probing: fleet.isProbing, prober: fleet.prober },
        share: fleet.online ? 'online' : 'away',
      }),
      ...(by !== undefined && { open: open.length }),
    }
    // The other tenants go on.
    return { name: `circuit ${name}`, live: true, ready: by !== undefined || open.length === 0, details }
  }

  function stateOf(): CircuitState {
    if (by === undefined) return whole.state
    const states = new Set([...groups.values()].map(({ state }) => state))
    return states.has('open') ? 'open' : states.has('half-open') ? 'half-open' : 'closed'
  }

  const stage = staged(middleware, {
    name: 'circuit-breaker',
    facts: {
      circuit: `${name}${by === undefined ? '' : ' by group'}, ${share === undefined ? 'this process' : `fleet, by ${share.name}; this process alone while it is away`}${observe ? ', observed only' : ''}`,
    },
    wantsOutside: { retry: 'it must see every attempt, and its refusals must pass through retry uncounted' },
  })
  const circuit = Object.assign(stage, { run, health })
  return Object.defineProperty(circuit, 'state', { get: stateOf, enumerable: true }) as typeof circuit & {
    readonly state: CircuitState
  }
}

/** A probe that is still in its time would count as failed: a slow dependency would never be let in again. */
function requireLongProbe(place: Place | undefined, probeTimeoutMs: number): void {
  const { timeoutMs = 0 } = factsOf(place === undefined ? [] : [...place.outside, ...place.inside])
  if (probeTimeoutMs < timeoutMs)
    throw badOption(
      'circuitBreaker',
      'probeTimeoutMs',
      `at least the pipeline's timeout() (${timeoutMs} ms)`,
      probeTimeoutMs,
    )
}

/** Makes one call, once the circuit lets it. */
async function through<T>(
  circuit: LocalCircuit,
  id: string | null,
  signal: AbortSignal,
  work: () => Promise<T>,
): Promise<T> {
  let entered = circuit.enter(id)
  while (!isCall(entered)) {
    if (entered instanceof RetryLater) throw entered
    if (entered === 'full') await circuit.ramp.wait(signal).catch(stopped)
    else if (entered === 'hear') await circuit.fleet?.hear()
    else await circuit.fleet?.ask()
    entered = circuit.enter(id)
  }
  let value: T
  try {
    value = await work()
  } catch (error) {
    throw circuit.threw(entered, error, signal)
  }
  circuit.succeeded(entered)
  return value
}

function isCall(entered: Call | 'full' | 'ask' | 'hear' | RetryLater): entered is Call {
  return typeof entered === 'object' && !(entered instanceof RetryLater)
}

function stopped(cause: unknown): never {
  throw new RetryLater(0, { because: 'stopped while it waited for its turn', cause })
}
