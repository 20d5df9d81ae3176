import { sleep, type Clock } from '../../core/clock.ts'
import { RetryLater } from '../../core/errors.ts'
import { badOption } from '../../core/options.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import type { Fault } from './faults.ts'
import { ConnectionLostError } from './task.ts'

/** What a fault does to one call. */
export type Trouble = (call: () => unknown, args: readonly unknown[], stage: Stage) => Promise<unknown>

export interface Stage {
  readonly clock: Clock
  readonly slowMs: number
  readonly name: string
  /** The same call with something else. */
  readonly callWith: (...args: unknown[]) => unknown
  /** Until when the target is down. */
  downUntilMs: number
}

export const lost = (name: string): Error => new ConnectionLostError(`${name}: the connection was lost`)

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
  // The signal aborts while it works, and its outcome is not acked.
  async rebalance(_, [delivery], { clock, slowMs, callWith }) {
    const moved = new AbortController()
    const cancel = clock.after(slowMs / 2, () => moved.abort(new Error('chaos: the partition moved')))
    try {
      await callWith(withSignal(delivery, moved.signal))
    } finally {
      cancel()
    }
    throw new RetryLater(0, { because: 'chaos: its partition moved before the ack' })
  },
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

export interface Kind {
  readonly what: string
  readonly troubles: typeof ofCalls
  readonly methods: readonly string[]
  /** Whether a call may be carried out in part. */
  readonly partial?: boolean
  /** Whether an answer of its is to be troubled too. */
  readonly lends?: (answer: object) => boolean
}

const kinds = {
  idempotencyStore: {
    what: 'a store',
    troubles: ofStores,
    methods: ['claim', 'renew', 'complete', 'release', 'fail', 'completeIn'],
  },
  outboxStore: {
    what: 'a store',
    troubles: ofStores,
    methods: ['check', 'attend', 'claim', 'leave', 'rotate', 'status'],
    lends: (answer) => 'moveDue' in answer,
  },
  lease: { what: 'a lease', troubles: ofStores, methods: ['read', 'settle', 'renew', 'moveDue', 'release'] },
  publisher: { what: 'a publisher', troubles: ofPublishers, methods: ['publish'], partial: true },
  pipeline: { what: 'a pipeline', troubles: ofPipelines, methods: ['step', 'dispatch'] },
} satisfies Readonly<Record<string, Kind>>

export function kindOf(target: object): Kind {
  if ('attend' in target) return kinds.outboxStore
  if ('claim' in target) return kinds.idempotencyStore
  if ('moveDue' in target) return kinds.lease
  if ('publish' in target) return kinds.publisher
  if (isPipeline(target)) return kinds.pipeline
  throw badOption('chaos', 'target', 'a transport, a pipeline, a store or a publisher', target)
}

export function isPipeline(value: unknown): value is Pipeline {
  return typeof value === 'object' && value !== null && 'step' in value && typeof value.step === 'function'
}

async function goesDown(_: () => unknown, __: readonly unknown[], stage: Stage): Promise<never> {
  stage.downUntilMs = stage.clock.now() + stage.slowMs
  throw lost(stage.name)
}

/** Aborts with its own signal or with this one. */
function withSignal(delivery: unknown, signal: AbortSignal): unknown {
  const own: unknown = typeof delivery === 'object' && delivery !== null ? Reflect.get(delivery, 'signal') : undefined
  return Object.assign({}, delivery, { signal: own instanceof AbortSignal ? AbortSignal.any([own, signal]) : signal })
}
