import { z } from 'zod'
import { json } from '../../../src/codecs/json.ts'
import type { Clock } from '../../../src/core/clock.ts'
import { PermanentError, RetryLater } from '../../../src/core/errors.ts'
import { pipeline, type Pipeline } from '../../../src/core/pipeline.ts'
import { deadLetter } from '../../../src/dead-letter/dead-letter.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import type { MemoryLanes } from '../../../src/ordering/parking/memory-lanes.ts'
import { parking } from '../../../src/ordering/parking/parking.ts'
import { parkingWorker } from '../../../src/ordering/parking/worker.ts'
import { retry } from '../../../src/retry/retry.ts'
import { transaction } from '../../../src/stores/postgres/transaction.ts'
import { keyed, type Travel } from '../../../src/testing/effects.ts'
import { allFaults } from '../../../src/testing/world/faults.ts'
import { invariantsFrom, type Invariant } from '../../../src/testing/world/invariants.ts'
import type { LogRecord } from '../../../src/testing/world/simulated-broker.ts'
import {
  simulatedConsumer,
  simulatedPipeline,
  type ConsumerFactory,
  type ConsumerParts,
} from '../../../src/testing/world/simulated-consumer.ts'
import type { Simulation } from '../../../src/testing/world/task.ts'
import type { Equipment, Scenario } from '../../../src/testing/world/world.ts'
import { parkedClaims, parks, type ParkingBug } from './parking-store.ts'

export interface ParkingWorldOptions {
  readonly name?: string
  readonly size?: Scenario['size']
  readonly keys?: number
  /** @defaultValue `'continue'` */
  readonly whenDead?: 'continue' | 'block-key'
  /** Where the effect happens: in the transaction, or at a target that knows an idempotency key. @defaultValue `'transaction'` */
  readonly effect?: 'transaction' | 'charge'
  /** All messages come in at once: what is behind a parked one is appended in runs. @defaultValue one a second */
  readonly together?: boolean
  readonly consumer?: ConsumerFactory
  readonly bug?: ParkingBug
}

const group = 'orders'
const order = json(z.object({ number: z.number() }))
const encoder = new TextEncoder()

/** Message 1 and every third one after it fail until then: they have to wait, or they die. */
const mendedAtMs = 3_000
/** A message comes in every second: in the middle of what the worker does. */
const sendEveryMs = 1_000
const pollMs = 1_000
/** From then on polls are rare while nothing is parked: a message that comes again minutes later costs little. */
const quietFromMs = 10_000
const looksEveryMs = 4_000
/** What is parked then stays parked. */
const endsAfterMs = 3_600_000

/** The lanes of the run under way. One run at a time: what looks at them is made before. */
interface Current {
  lanes: MemoryLanes | undefined
}

/** Our stack with parking and a parking worker in every process, over the lanes of the memory store. */
export function parkingScenario(options: ParkingWorldOptions = {}): Scenario {
  const { whenDead = 'continue', bug, consumer = simulatedConsumer, keys = 1, together = false } = options
  const current: Current = { lanes: undefined }
  return {
    name: options.name ?? 'parking',
    size: options.size ?? { messages: 4, consumers: 2, partitions: 1 },
    keys,
    groups: [group],
    faults: allFaults,
    invariants: invariantsOf(options, current),
    body: (number) => encoder.encode(JSON.stringify({ number })),
    sentAtMs: (number) => (together ? 0 : (number - 1) * sendEveryMs),
    begin: () => (equipment, travel) => stack(equipment, travel, options),
    beside(simulation, table) {
      const onParked = (): void => operator.wake()
      const claims = parkedClaims(simulation, table, { bug, onParked })
      const operator = new Operator(simulation, claims.lanes)
      current.lanes = claims.lanes
      return claims
    },
    consumer: (parts) => withWorker(parts, consumer, current),
  }

  function stack({ store, clock, deadLetters, pool, handler }: Equipment, travel: Travel, { effect }: typeof options) {
    if (!parks(store)) throw new TypeError('the store of this world parks')
    const { charge } = travel(
      {
        charge: keyed(
          (_id: string) => {},
          (id) => id,
        ),
      },
      'effect',
    )
    const claimed = pipeline(group)
      .use(deadLetter({ to: deadLetters, clock }))
      .use(parking({ store, whenDead, parkAfterMs: 500, clock }))
      .decode(order)
      .use(idempotency({ store, clock }))
      .use(retry({ clock, maxAttempts: 3 }))
    if (effect === 'charge')
      return claimed.handle(
        handler(async ({ message }) => {
          troubled(message.body.number, clock, whenDead)
          await charge(message.id)
        }),
      )
    return claimed.use(transaction(pool)).handle(
      handler(async ({ message, tx }) => {
        await tx.query('insert into orders', [message.id])
        troubled(message.body.number, clock, whenDead)
      }),
    )
  }
}

function troubled(number: number, clock: Clock, whenDead: 'continue' | 'block-key'): void {
  if (number % 3 !== 1 || clock.now() >= mendedAtMs) return
  if (whenDead === 'block-key') throw new PermanentError('its address is wrong')
  throw new RetryLater(1_000, { holds: 'message', because: 'its address is missing' })
}

/** The consumer of a process, and a parking worker beside it. They crash, stand still and end together. */
function withWorker(parts: ConsumerParts, consumerOf: ConsumerFactory, current: Current): ReturnType<ConsumerFactory> {
  const { clock, pipeline: orders, simulation } = parts
  const consumer = consumerOf(parts)
  const store = orders.stages.find((stage) => stage.parking !== undefined)?.parking?.store
  if (store === undefined || !parks(store)) throw new TypeError('the pipeline of this world parks')
  const isQuiet = (): boolean => simulation.nowMs >= quietFromMs && current.lanes?.look(group).length === 0
  const worker = parkingWorker({
    store,
    pipelines: [ofRecords(parts)],
    clock: idleClock(clock, isQuiet),
    ...{ concurrency: 2, pageSize: 2, pollMs, statusEveryMs: endsAfterMs },
  })
  const stopping = new AbortController()
  return {
    member: consumer.member,
    stop() {
      consumer.stop()
      stopping.abort(new Error('stopping'))
    },
    run: () => Promise.all([consumer.run(), worker.run(stopping.signal)]).then(() => undefined),
  }
}

/** Runs what was parked as work of its process, and tells how it ended: the record is made anew from its origin. */
function ofRecords(parts: ConsumerParts): Pipeline {
  const watched = simulatedPipeline(parts)
  return {
    ...watched,
    step(delivery) {
      const { message, origin, bytes } = delivery
      const body = bytes ?? new Uint8Array()
      const [partition, offset] = [Number(origin.partition), Number(origin.position)]
      const raw: LogRecord = { partition, offset, id: message.id, key: message.key ?? '', body }
      return watched.step({ ...delivery, raw })
    },
  }
}

/** The loops of a worker keep no run going: the operator does, while anything is parked. */
function idleClock(clock: Clock, isQuiet: () => boolean): Clock {
  return { ...clock, after: (ms, callback) => clock.after(ms === pollMs && isQuiet() ? 30 * ms : ms, callback, true) }
}

/** Looks at the lanes while there are any. Of a blocked key the head runs again once, then it is dropped. */
class Operator {
  readonly #simulation: Simulation
  readonly #lanes: MemoryLanes
  readonly #ranAgain = new Set<string>()
  #isAwake = false

  constructor(simulation: Simulation, lanes: MemoryLanes) {
    this.#simulation = simulation
    this.#lanes = lanes
  }

  wake(): void {
    if (this.#isAwake) return
    this.#isAwake = true
    this.#simulation.later(looksEveryMs, 'the operator looks', () => this.#look())
  }

  #look(): void {
    this.#isAwake = false
    const lanes = this.#lanes.look(group)
    if (lanes.length === 0 || this.#simulation.nowMs >= endsAfterMs) return
    for (const { lane, blocked, keys } of lanes) if (blocked) this.#help(lane, keys[0] ?? '')
    this.wake()
  }

  #help(lane: string, head: string): void {
    const again = !this.#ranAgain.has(head)
    this.#ranAgain.add(head)
    this.#simulation.say('operator', again ? `unblocks ${head}` : `drops ${head}`)
    this.#lanes.unblock(group, lane, again ? 'run' : 'drop')
  }
}

function invariantsOf({ whenDead, effect }: ParkingWorldOptions, current: Current): readonly Invariant[] {
  const blocks = whenDead === 'block-key'
  const isParked = (id: string): boolean => current.lanes?.has(group, id) === true

  const ackedKept: Invariant = {
    name: 'acked-kept',
    onEntry({ kind, messageId, by }, ledger) {
      const fate = ledger.fate(messageId)
      if (kind !== 'acked' || fate === undefined || fate.completed || fate.deadLettered || isParked(messageId))
        return undefined
      return `${by} acked ${messageId}, which has not taken effect, is not parked and was not dead-lettered`
    },
  }
  // A dead head holds its key only where death blocks it.
  const noOvertaking: Invariant = {
    name: 'no-overtaking',
    onEntry({ kind, messageId, by }, ledger) {
      const mine = kind === 'started' ? ledger.fate(messageId)?.message : undefined
      if (mine === undefined) return undefined
      const head = ledger
        .fates()
        .find(
          ({ message: { id, key, index }, completed, deadLettered }) =>
            key === mine.key && index < mine.index && !completed && (blocks || !deadLettered) && isParked(id),
        )
      return head && `${by} starts ${messageId} while ${head.message.id}, sent before it with the same key, is parked`
    },
  }
  const nothingParked: Invariant = {
    name: 'nothing-parked',
    atEnd() {
      const [stuck] = current.lanes?.look(group) ?? []
      return stuck && `in the end ${stuck.keys.join(', ') || 'an empty lane'} is parked, and nothing more will happen`
    },
  }
  const orphans: Invariant = {
    name: 'no-orphans',
    atEnd(ledger) {
      const lost = ledger.sent.find(({ id }) => isParked(id))
      return lost && `in the end ${lost.id} is parked in no lane`
    },
  }
  // What blocks its key is dead, and may be handled once it is mended; an effect outside may come before the dead letter.
  const oneFate = !blocks && effect !== 'charge' ? (['one-fate'] as const) : []
  return [
    ...invariantsFrom('parking', ['no-loss', 'once', 'key-order', 'drained', ...oneFate]),
    ackedKept,
    noOvertaking,
    nothingParked,
    orphans,
    ...invariantsFrom('parking', ['live-lease', 'one-at-a-time', 'no-start-after-abort', 'bounded-attempts']),
  ]
}
