import { systemClock, type Clock } from '../../core/clock.ts'
import { staged, type Delivery, type Middleware, type Place, type Stage } from '../../core/delivery.ts'
import { HoldfastError } from '../../core/errors.ts'
import type { Bytes } from '../../core/message.ts'
import { checkOptions, clockKind, count, having, ms, oneOf, required, type Kinds } from '../../core/options.ts'
import { LaneKeeper, ParkingPlace, type ParkingSettings } from './place.ts'
import type { ParkingStore } from './store.ts'

export interface DelayedOptions {
  /** The store of `idempotency()`: the same object. PostgreSQL's and the memory store park; Redis' does not. */
  readonly store: ParkingStore
  /** A wait of that many ms and more is parked. A shorter one holds its key in the consumer. @defaultValue 1_000 */
  readonly parkAfterMs?: number
  /** A message that still has to wait that long after its first run is too old, in ms. @defaultValue 1 day */
  readonly maxAgeMs?: number
  /** Most parked lanes of the pipeline, counted once a second. Beyond it messages wait in the consumer. @defaultValue 10_000 */
  readonly maxLanes?: number
  readonly clock?: Clock
}

export interface ParkingOptions extends DelayedOptions {
  /** Most messages of a key. Beyond it the key holds its lane in the consumer: nothing is lost, and its partition may stop. @defaultValue 1_000 */
  readonly maxPerKey?: number
  /** Only `'hold'`: anything else would lose messages or their order. @defaultValue `'hold'` */
  readonly whenFull?: 'hold'
  /** After a final failure: go on with the key, or block it until an operator acts. @defaultValue `'continue'` */
  readonly whenDead?: 'continue' | 'block-key'
  /**
   * What happens to a message that is too old. `'dead-letter'`: its wait was its final failure. `'alert'`: it waits on, the
   * worker is not ready and says why. `'block'`: its key waits for an operator. @defaultValue `'dead-letter'`, and `'alert'`
   * with `whenDead: 'block-key'`
   */
  readonly onTooOld?: 'dead-letter' | 'alert' | 'block'
  /**
   * Whether the source hands the messages of a key to one consumer at a time and in order, as Kafka does. `'none'`: the order
   * promise is then only for what is parked, and `describe()` says so. @defaultValue `'key'`
   */
  readonly sourceOrder?: 'key' | 'none'
}

const delayedKinds: Kinds<DelayedOptions> = {
  store: required(having('park', 'append', 'claimLanes', 'load', 'free', 'reschedule')),
  parkAfterMs: ms(0),
  maxAgeMs: ms(),
  maxLanes: count(),
  clock: clockKind,
}
const day = 86_400_000

/**
 * A message that has to wait stops nothing but its own key, and keeps its place: it is stored, later messages of its key are
 * put behind it and acked, and a `parkingWorker()` runs them in order. Stands inside `deadLetter()` and outside `decode()`.
 */
export function parking(options: ParkingOptions): Middleware<unknown, Delivery<Bytes>> {
  const {
    store,
    parkAfterMs = 1_000,
    maxPerKey = 1_000,
    whenDead = 'continue',
    maxAgeMs = day,
    onTooOld = whenDead === 'continue' ? 'dead-letter' : 'alert',
    maxLanes = 10_000,
    sourceOrder = 'key',
    clock = systemClock,
  } = checkOptions('parking', options, {
    ...delayedKinds,
    maxPerKey: count(),
    whenFull: oneOf('hold'),
    whenDead: oneOf('continue', 'block-key'),
    onTooOld: oneOf('dead-letter', 'alert', 'block'),
    sourceOrder: oneOf('key', 'none'),
  })
  const settings = { store, parkAfterMs, maxPerKey, whenDead, maxAgeMs, onTooOld, maxLanes, clock, ordered: true }
  const weaker =
    sourceOrder === 'key'
      ? ''
      : "; the source keeps no key's order: nothing new starts past a parked message, and only what is parked is in order"
  const parks = `waits of ${seconds(parkAfterMs)} and more leave their key's lane, and the key's later messages wait behind; at most ${maxPerKey} a key, then the lane holds; at most ${seconds(maxAgeMs)}, then ${onTooOld}; dead: ${whenDead}${weaker}`
  return stageOf('parking', settings, parks)
}

/**
 * A delay without order: a message that has to wait is stored and acked, and runs when its time has come. Later messages of
 * its key do not wait for it.
 */
export function delayed(options: DelayedOptions): Middleware<unknown, Delivery<Bytes>> {
  const {
    store,
    parkAfterMs = 1_000,
    maxAgeMs = day,
    maxLanes = 10_000,
    clock = systemClock,
  } = checkOptions('delayed', options, delayedKinds)
  const whenDead = 'continue'
  const onTooOld = 'dead-letter'
  const settings = {
    store,
    parkAfterMs,
    maxPerKey: 1,
    whenDead,
    maxAgeMs,
    onTooOld,
    maxLanes,
    clock,
    ordered: false,
  } as const
  const parks = `waits of ${seconds(parkAfterMs)} and more are stored; NO ORDER: later messages of the key do not wait; at most ${seconds(maxAgeMs)}, then dead-letter`
  return stageOf('delayed', settings, parks)
}

function stageOf(name: string, settings: ParkingSettings, parks: string): Middleware<unknown, Delivery<Bytes>> {
  const { store, whenDead, maxAgeMs, onTooOld, ordered } = settings
  const middleware: Middleware<unknown, Delivery<Bytes>> = (next, place) => {
    if (place !== undefined) refuseBadPlace(name, settings, place)
    const keeper = new LaneKeeper(settings)
    return function parking(delivery) {
      const place = new ParkingPlace(keeper, delivery)
      return next({ ...delivery, first: place.mayClaimInside, parking: place })
    }
  }
  return staged(middleware, {
    name,
    facts: { parks },
    notInside: {
      idempotency: 'the claim asks whether the lane is parked',
      retry: 'what waits for long is what retry hands back',
      decode: 'it must keep the untouched bytes',
      transaction: 'what is parked must outlive a rollback',
    },
    wantsOutside: { 'dead-letter': 'a dead message blocks its key before it is a dead letter' },
    excludes: { parking: 'a message waits in one place', delayed: 'a message waits in one place' },
    parking: { store, whenDead, maxAgeMs, onTooOld, ordered },
  })
}

/** What the names of the stages alone do not tell. */
function refuseBadPlace(name: string, { store, whenDead, maxAgeMs, ordered }: ParkingSettings, place: Place): void {
  const refuse = (problem: string): never => {
    throw new HoldfastError('bad-order', `${place.pipeline}: ${problem}`)
  }
  const claims = stageIn(place.inside, 'idempotency')
  if (claims === undefined)
    return refuse(`${name} needs idempotency inside it: the claim asks whether the lane is parked`)
  const { retainMs } = claims.facts ?? {}
  if (claims.keeper === true)
    refuse(
      "idempotency in mode 'observe', or with onStoreError 'fail-open', lets a handler run without a claim, and so past a parked lane",
    )
  if (claims.keeper !== store)
    refuse(
      `${name} and idempotency must have the same store object: a message is parked in the step that gives its claim back`,
    )
  if (retainMs !== undefined && retainMs < maxAgeMs)
    refuse(
      `idempotency remembers a key for ${seconds(retainMs)}, but a message may be parked for ${seconds(maxAgeMs)}: raise retainMs or lower maxAgeMs`,
    )
  if (whenDead === 'block-key' && stageIn(place.outside, 'dead-letter') === undefined)
    refuse("parking with whenDead 'block-key' needs deadLetter outside it: without one no failure is final")
  if (!ordered && stageIn([...place.inside, ...place.outside], 'sequence') !== undefined)
    refuse(
      'delayed and sequence: a message that is late would be taken for a stale one, and acked without being handled',
    )
}

function stageIn(stages: readonly Stage[], name: string): Stage | undefined {
  return stages.find((stage) => stage.name === name)
}

function seconds(ms: number): string {
  return ms >= day ? `${+(ms / day).toFixed(1)} d` : `${+(ms / 1000).toFixed(3)} s`
}
