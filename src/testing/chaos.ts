import { sleep, systemClock, type Clock } from '../clock.ts'
import { PublishError, RetryLater } from '../errors.ts'
import type { IdempotencyStore } from '../idempotency/store.ts'
import { badOption, requireMs } from '../options.ts'
import type { Pipeline } from '../pipeline.ts'
import type { Publisher } from '../publisher.ts'
import { isFault, type Fault } from './faults.ts'
import { dice } from './schedule.ts'
import { ConnectionLostError } from './task.ts'

/** A transport: what makes a consumer for a pipeline, such as `kafkajsConsumer` or `memoryConsumer`. */
export type MakesConsumer = (options: never) => unknown

/** What can be troubled. */
export type ChaosTarget = IdempotencyStore | Publisher | Pipeline | MakesConsumer

export interface ChaosOptions {
  /** The same seed troubles the same calls, as long as they come in the same order. */
  readonly seed: number
  /** Those that the target knows are used. @defaultValue all of them */
  readonly faults?: readonly Fault[]
  /** Which share of the calls is troubled. @defaultValue 0.1 */
  readonly rate?: number
  /** How long something slow takes, and a target that is down is down. @defaultValue 100 */
  readonly slowMs?: number
  /** Hears of every fault. @defaultValue nobody does */
  readonly onFault?: (struck: { readonly fault: Fault; readonly call: string }) => void
  readonly clock?: Clock
}

type Call = (...args: unknown[]) => unknown

/** What a fault does to one call. */
type Trouble = (call: () => unknown, args: readonly unknown[], stage: Stage) => Promise<unknown>

interface Stage {
  readonly clock: Clock
  readonly slowMs: number
  readonly name: string
  /** Until when the target is down. */
  downUntilMs: number
}

const lost = (name: string): Error => new ConnectionLostError(`${name}: the connection was lost`)

const ofCalls: Readonly<Partial<Record<Fault, Trouble>>> = {
  fail: async (_, __, { name }) => {
    throw lost(name)
  },
  async 'lose-reply'(call, _, { name }) {
    await call()
    throw lost(name)
  },
  async slow(call, _, { clock, slowMs }) {
    await sleep(clock, slowMs)
    return call()
  },
}

const ofStores = { ...ofCalls, 'store-down': goesDown }

const ofPublishers: typeof ofCalls = {
  ...ofCalls,
  'publisher-down': goesDown,
  async 'confirms-late'(call, _, { clock, slowMs }) {
    const answer = await call()
    await sleep(clock, slowMs)
    return answer
  },
  async duplicate(call) {
    await call()
    return call()
  },
}

const ofPipelines: typeof ofCalls = {
  slow: ofCalls.slow ?? goesDown,
  async fail() {
    throw new RetryLater(0, { because: 'chaos: handed back before it was handled' })
  },
  // Handled, and the ack never reaches the broker: it comes again.
  async 'lose-reply'(call) {
    await call()
    throw new RetryLater(0, { because: 'chaos: its ack was lost' })
  },
  async duplicate(call) {
    await call()
    return call()
  },
  async redelivery(call, _, { clock, slowMs }) {
    const outcome = await call()
    const again = async (): Promise<void> => {
      await sleep(clock, slowMs)
      await call()
    }
    // Nobody waits for it; what it throws would be a nack of a message that is acked already.
    void again().catch(() => undefined)
    return outcome
  },
}

/**
 * Troubles a transport, a pipeline, a store or a publisher with the faults of the kit, on a real clock: for integration
 * tests against real servers. `chaos(kafkajsConsumer, { seed: 7 })({ …, pipeline })`.
 */
export function chaos<T extends ChaosTarget>(target: T, options: ChaosOptions): T {
  const { seed, faults, rate = 0.1, slowMs = 100, onFault = () => {}, clock = systemClock } = options
  if (!Number.isSafeInteger(seed)) throw badOption('chaos', 'seed', 'an integer', seed)
  if (!(rate >= 0 && rate <= 1)) throw badOption('chaos', 'rate', 'between 0 and 1', rate)
  requireMs('chaos', { slowMs }, 0)
  if (typeof target === 'function') return troubledTransport<T>(target, options)

  const kind = kindOf(target)
  const random = dice(seed)
  const stage = { clock, slowMs, downUntilMs: -Infinity }
  const kinds = Object.keys(kind.troubles)
    .filter(isFault)
    .filter((fault) => faults === undefined || faults.includes(fault))

  function troubled(name: string, real: Call, args: unknown[]): unknown {
    const call = (): unknown => Reflect.apply(real, target, args)
    if (clock.now() < stage.downUntilMs) return Promise.reject(lost(name))
    if (random() >= rate) return call()
    if (kind.partial && random() < 1 / (kinds.length + 1) && isPartial(faults, args)) return partly(real, args)
    const fault = kinds[Math.floor(random() * kinds.length)]
    const trouble = fault === undefined ? undefined : kind.troubles[fault]
    if (fault === undefined || trouble === undefined) return call()
    onFault({ fault, call: name })
    return trouble(call, args, Object.assign(stage, { name }))
  }

  /** Only the first message is taken. */
  async function partly(real: Call, [messages, ...rest]: unknown[]): Promise<unknown> {
    if (!Array.isArray(messages)) return undefined
    onFault({ fault: 'partial-batch', call: 'publish' })
    await Reflect.apply(real, target, [messages.slice(0, 1), ...rest])
    const failures = messages.slice(1).map((_, i) => ({ index: i + 1, error: lost('publish'), permanent: false }))
    throw new PublishError('chaos: only the first message was taken', failures)
  }

  return new Proxy(target, {
    get(object, name) {
      const member: unknown = Reflect.get(object, name)
      if (typeof name !== 'string' || !kind.methods.includes(name) || typeof member !== 'function') return member
      return (...args: unknown[]) => troubled(name, (...all) => Reflect.apply(member, object, all), args)
    },
  })
}

/** Makes its consumers for a pipeline that is troubled. */
function troubledTransport<T extends ChaosTarget>(target: T, options: ChaosOptions): T {
  return new Proxy(target, {
    apply(make, self, [given, ...rest]: unknown[]): unknown {
      if (typeof make !== 'function' || typeof given !== 'object' || given === null || !('pipeline' in given))
        throw badOption('chaos', 'pipeline', 'among the options of the consumer', given)
      const { pipeline } = given
      if (!isPipeline(pipeline)) throw badOption('chaos', 'pipeline', 'a pipeline', pipeline)
      return Reflect.apply(make, self, [{ ...given, pipeline: chaos(pipeline, options) }, ...rest])
    },
  })
}

function kindOf(target: object) {
  if ('claim' in target)
    return {
      troubles: ofStores,
      methods: ['claim', 'renew', 'complete', 'release', 'fail', 'completeIn'],
      partial: false,
    }
  if ('publish' in target) return { troubles: ofPublishers, methods: ['publish'], partial: true }
  if (isPipeline(target)) return { troubles: ofPipelines, methods: ['step', 'dispatch'], partial: false }
  throw badOption('chaos', 'target', 'a transport, a pipeline, a store or a publisher', target)
}

function isPipeline(value: unknown): value is Pipeline {
  return typeof value === 'object' && value !== null && 'step' in value && typeof value.step === 'function'
}

async function goesDown(_: () => unknown, __: readonly unknown[], stage: Stage): Promise<never> {
  stage.downUntilMs = stage.clock.now() + stage.slowMs
  throw lost(stage.name)
}

function isPartial(faults: readonly Fault[] | undefined, [messages]: readonly unknown[]): boolean {
  return (faults === undefined || faults.includes('partial-batch')) && Array.isArray(messages) && messages.length > 1
}
