import { systemClock, type Clock } from '../core/clock.ts'
import { PublishError } from '../core/errors.ts'
import type { IdempotencyStore } from '../idempotency/store.ts'
import { badOption, requireMs } from '../core/options.ts'
import type { OutboxStore } from '../outbox/store.ts'
import type { Pipeline } from '../core/pipeline.ts'
import type { Publisher } from '../core/publisher.ts'
import { allFaults, isFault, type Fault } from './world/faults.ts'
import { dice } from './explorer/schedule.ts'
import { isPipeline, kindOf, lost } from './world/troubles.ts'

type Call = (...args: unknown[]) => unknown

/** A transport: a function that makes a consumer for a pipeline, such as `kafkajsConsumer` or `memoryConsumer`. */
export type MakesConsumer = (options: never) => unknown

/** What `chaos()` takes. */
export type ChaosTarget = IdempotencyStore | OutboxStore | Publisher | Pipeline | MakesConsumer

export interface ChaosOptions {
  /** The same seed injects faults into the same calls, if they come in the same order. */
  readonly seed: number
  /** The faults to inject. The target must know at least one; others are ignored. @defaultValue all that it knows */
  readonly faults?: readonly Fault[]
  /** The share of calls that get a fault, from 0 to 1. @defaultValue 0.1 */
  readonly rate?: number
  /** Ms that a slow call takes, and that a target stays down. @defaultValue 100 */
  readonly slowMs?: number
  /** Called on every fault. @defaultValue none */
  readonly onFault?: (struck: { readonly fault: Fault; readonly call: string }) => void
  readonly clock?: Clock
}

/**
 * Injects the kit's faults into a transport, a pipeline, a store or a publisher, on a real clock. For integration tests
 * against real servers: `chaos(kafkajsConsumer, { seed: 7 })({ …, pipeline })`.
 */
export function chaos<T extends ChaosTarget>(target: T, options: ChaosOptions): T {
  const { seed, faults, rate = 0.1, slowMs = 100, onFault = () => {}, clock = systemClock } = options
  if (!Number.isSafeInteger(seed)) throw badOption('chaos', 'seed', 'an integer', seed)
  if (!(rate >= 0 && rate <= 1)) throw badOption('chaos', 'rate', 'between 0 and 1', rate)
  requireMs('chaos', { slowMs }, 0)
  for (const fault of faults ?? [])
    if (!isFault(fault)) throw badOption('chaos', 'faults', `made of ${allFaults.join(', ')}`, fault)
  if (typeof target === 'function') return troubledTransport<T>(target, options)

  return troubledObject(target, { ...options, rate, slowMs, onFault, clock })
}

type Settled = Required<Omit<ChaosOptions, 'faults'>> & Pick<ChaosOptions, 'faults'>

function troubledObject<T extends object>(target: T, options: Settled): T {
  const { seed, faults, rate, slowMs, onFault, clock } = options
  const kind = kindOf(target)
  const random = dice(seed)
  const stage = { clock, slowMs, downUntilMs: -Infinity }
  const known = Object.keys(kind.troubles)
    .filter(isFault)
    .filter((fault) => faults === undefined || faults.includes(fault))
  const takesPart = kind.partial && (faults?.includes('partial-batch') ?? true)
  if (known.length === 0 && !takesPart) {
    const knows = [...Object.keys(kind.troubles), ...(kind.partial ? ['partial-batch'] : [])]
    throw badOption('chaos', 'faults', `some of those that ${kind.what} knows (${knows.join(', ')})`, faults)
  }

  function troubled(name: string, real: Call, args: unknown[]): unknown {
    const call = (): unknown => Reflect.apply(real, target, args)
    if (clock.now() < stage.downUntilMs) return Promise.reject(lost(name))
    if (random() >= rate) return call()
    if (takesPart && random() < 1 / (known.length + 1) && isBatch(args)) return partly(real, args)
    const fault = known[Math.floor(random() * known.length)]
    const trouble = fault === undefined ? undefined : kind.troubles[fault]
    if (fault === undefined || trouble === undefined) return call()
    onFault({ fault, call: name })
    return trouble(call, args, Object.assign(stage, { name, callWith: (...other: unknown[]) => real(...other) }))
  }

  /** Only the first message is taken. */
  async function partly(real: Call, [messages, ...rest]: unknown[]): Promise<unknown> {
    if (!Array.isArray(messages)) return undefined
    onFault({ fault: 'partial-batch', call: 'publish' })
    await Reflect.apply(real, target, [messages.slice(0, 1), ...rest])
    const failures = messages.slice(1).map((_, i) => ({ index: i + 1, error: lost('publish'), permanent: false }))
    throw new PublishError('chaos: only the first message was taken', failures)
  }

  /** A lease that a store gives is troubled like its store, by dice of its own. */
  async function lent(answer: unknown): Promise<unknown> {
    const lease = await answer
    const isLease = typeof lease === 'object' && lease !== null && kind.lends?.(lease) === true
    return isLease ? troubledObject(lease, { ...options, seed: Math.floor(random() * 2 ** 31) }) : lease
  }

  return new Proxy(target, {
    get(object, name) {
      const member: unknown = Reflect.get(object, name)
      if (typeof name !== 'string' || !kind.methods.includes(name) || typeof member !== 'function') return member
      return (...args: unknown[]) => {
        const real: Call = (...all) => Reflect.apply(member, object, all)
        return troubled(name, kind.lends === undefined ? real : (...all) => lent(real(...all)), args)
      }
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

function isBatch([messages]: readonly unknown[]): boolean {
  return Array.isArray(messages) && messages.length > 1
}
