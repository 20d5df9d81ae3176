import { setImmediate } from 'node:timers'
import type { Clock } from '../../core/clock.ts'
import type { Claimed, Delivery, Middleware } from '../../core/delivery.ts'
import type { TransactionalIdempotencyStore } from '../../idempotency/store.ts'
import type { Pipeline } from '../../core/pipeline.ts'
import type { Publisher } from '../../core/publisher.ts'
import { audit } from './audit.ts'
import type { MakesBeside } from './beside-claims.ts'
import { travel, type Effects, type Travel, type Travelling } from '../effects.ts'
import type { Fault } from './faults.ts'
import type { Invariant } from './invariants.ts'
import { ledger, type Ledger } from './ledger.ts'
import { isAlive, nameOf, simulatedProcess, type SimulatedProcess } from './process.ts'
import type { Size } from '../explorer/schedule.ts'
import { simulatedBroker, type LogRecord } from './simulated-broker.ts'
import { simulatedClock } from './simulated-clock.ts'
import { simulatedConsumer, type ConsumerFactory } from './simulated-consumer.ts'
import { simulatedDatabase, type Committed, type SimulatedClient, type SimulatedPool } from './simulated-database.ts'
import { simulatedHandlers, type WrapHandler } from './simulated-handler.ts'
import { simulatedProducer } from './simulated-producer.ts'
import { simulatedPublishing } from './simulated-publisher.ts'
import { simulatedTransaction } from './simulated-transaction.ts'
import { simulation } from './simulation.ts'
import type { Chooser, Simulation } from './task.ts'

/** What one simulated process is given. Made anew after every crash: what was in memory is gone. */
export interface Kit<E extends Effects, R extends Effects = Record<never, never>> extends Equipment {
  /** Your functions that change the world. Each call is a place for faults, and counts. */
  readonly effects: Travelling<E>
  /** Your functions that only look. Each call is a place for faults, and may be repeated. */
  readonly reads: Travelling<R>
}

/** The kit without the functions of the one who uses it. */
export interface Equipment {
  /** `A`, after a crash `A′`. */
  readonly name: string
  readonly group: string
  /** Another number in every run: for names on real servers that no two runs may share. */
  readonly run: number
  readonly store: TransactionalIdempotencyStore
  readonly clock: Clock
  readonly deadLetters: Publisher
  /** For what a handler sends; every message is an effect. */
  readonly publisher: Publisher
  /** As much of a `pg.Pool` as `transaction(pool)` needs, on the same database as `store`. */
  readonly pool: SimulatedPool
  /** A transaction for the handler, `tx`, that also completes the claim. */
  readonly transaction: Middleware<{ readonly tx: SimulatedClient }, Delivery & Partial<Claimed>>
  /** Wraps the handler, so that its beginning and end are seen. */
  readonly handler: WrapHandler
}

/** Builds the pipeline of one process. */
export type Build = (equipment: Equipment, travel: Travel) => Pipeline

export interface Scenario {
  readonly name: string
  readonly size: Size
  readonly keys: number
  readonly groups: readonly string[]
  readonly faults: readonly Fault[]
  readonly invariants: readonly Invariant[]
  readonly body: (number: number) => Uint8Array
  /** Begins a run, which may have effects of its own. */
  readonly begin: () => Build
  readonly consumer?: ConsumerFactory
  /** A planted bug of the store. */
  readonly checksToken?: boolean
  /** What the database keeps beside the claims. @defaultValue nothing */
  readonly beside?: MakesBeside
  /** When the message with that number, counted from 1, is sent. In ms. @defaultValue all at once */
  readonly sentAtMs?: (number: number) => number
  /** Another world than that of consumers. */
  readonly run?: (size: Size, chooser: Chooser, options: RunOptions) => Promise<Run>
}

export interface RunOptions {
  /** Keeps a line for everything that happens. @defaultValue `false` */
  readonly record?: boolean
}

export interface Run {
  readonly simulation: Simulation
  readonly ledger: Ledger
}

const restartAfterMs = 5_000

// The test runner's own timers, and unhandled rejections, need a turn of the event loop now and then.
const breatheEveryMs = 50
let breathedMs = 0
let runs = 0

/** Runs one schedule from the beginning to where nothing is left to do. */
export async function runSchedule(scenario: Scenario, chooser: Chooser, options: RunOptions = {}): Promise<Run> {
  const run = await (scenario.run?.(scenario.size, chooser, options) ?? runConsumers(scenario, chooser, options))
  if (performance.now() - breathedMs > breatheEveryMs) {
    await new Promise((resolve) => setImmediate(resolve))
    breathedMs = performance.now()
  }
  return run
}

async function runConsumers(scenario: Scenario, chooser: Chooser, { record = false }: RunOptions): Promise<Run> {
  const { size, groups, invariants, beside, sentAtMs = () => 0 } = scenario
  const number = runs++
  const sim = simulation({ chooser, record, maxSteps: 2_000 + 400 * size.messages, strike, onCommit: committedReally })
  const groupOf = new Map<SimulatedProcess, string>()
  const poisoned = new Set<string>()
  const answers = new Map<string, unknown>()
  const build = scenario.begin()
  const mistakes: Error[] = []

  const broker = simulatedBroker({ simulation: sim, partitions: size.partitions, onCommit: acked })
  const database = simulatedDatabase({
    simulation: sim,
    onCommit: committed,
    ...(scenario.checksToken !== undefined && { checksToken: scenario.checksToken }),
    ...(beside !== undefined && { beside: (claims) => beside(sim, claims) }),
  })
  const book = ledger({
    groups,
    nowMs: () => sim.nowMs,
    faults: () => sim.deviations.length,
    remaining: (group) =>
      broker.logs.reduce((left, log, partition) => left + log.length - broker.committed(group, partition), 0),
  })
  const { note, conclude } = audit(book, invariants, sim)
  const publishing = simulatedPublishing(sim)
  const isPoison = (messageId: string): boolean => poisoned.has(messageId)
  const handlers = simulatedHandlers({ simulation: sim, note, claims: database.claims, isPoison })
  const produce = simulatedProducer({
    ...{ simulation: sim, broker, ledger: book, note, keys: scenario.keys, body: scenario.body },
    onPoison: (id) => poisoned.add(id),
  })

  function acked(group: string, records: readonly LogRecord[], by: SimulatedProcess): void {
    for (const { id } of records) note({ kind: 'acked', by: nameOf(by), group, messageId: id })
  }

  function committed(statements: readonly Committed[], messageIds: ReadonlySet<string>, by: SimulatedProcess): void {
    const group = groupOf.get(by) ?? ''
    const who = nameOf(by)
    const counts = new Map<string, number>()
    for (const { messageId, text } of statements) {
      const name = `${messageId} ${text}`
      const count = (counts.get(name) ?? 0) + 1
      counts.set(name, count)
      const what = count === 1 ? text : `${text} (statement ${count})`
      note({ kind: 'effect', by: who, group, messageId, what })
    }
    for (const messageId of messageIds) note({ kind: 'completed', by: who, group, messageId })
  }

  function committedReally(by: SimulatedProcess, messageId: string, texts: readonly string[]): void {
    committed(
      texts.map((text) => ({ by, messageId, text })),
      new Set([messageId]),
      by,
    )
  }

  /** Faults that strike more than one call. */
  function strike(
    fault: Fault,
    { process }: { readonly process: SimulatedProcess | null },
    { ms = 0 }: { readonly ms?: number },
  ): boolean {
    if (fault === 'rebalance') broker.rebalance()
    else if (fault === 'stop' && process !== null) {
      sim.say(nameOf(process), 'is asked to end')
      process.onStop()
    } else if (fault === 'clock-skew' && process !== null) {
      process.skewMs += ms
      sim.say(nameOf(process), `its wall clock jumps by ${ms / 1000} s`)
    } else if (fault === 'store-down') {
      database.downUntilMs = sim.nowMs + ms
      sim.say('store', `is down for ${ms / 1000} s`)
    } else if (fault === 'publisher-down') publishing.goDown(ms)
    else return false
    return true
  }

  function start(process: SimulatedProcess, group: string): void {
    const { incarnation } = process
    const who = nameOf(process)
    const clock = simulatedClock(sim, process)

    const pool = database.poolFor(process)
    const equipment: Equipment = {
      name: who,
      group,
      run: number,
      clock,
      pool,
      store: database.storeFor(process),
      transaction: simulatedTransaction(pool),
      deadLetters: publishing.publisherFor(process, 'dead-letter', ({ id }) =>
        note({ kind: 'dead-lettered', by: who, group, messageId: id }),
      ),
      publisher: publishing.publisherFor(process, 'publish', ({ id, destination }) =>
        note({ kind: 'effect', by: who, group, messageId: id, what: `publish to ${destination}` }),
      ),
      handler: handlers(process, group),
    }
    const calls = travel({
      simulation: sim,
      process,
      answers,
      onEffect: (messageId, what) => note({ kind: 'effect', by: who, group, messageId, what }),
      onMistake(error) {
        mistakes.push(error)
        sim.violate('mistake', error.message)
      },
    })

    const consumer = (scenario.consumer ?? simulatedConsumer)({
      simulation: sim,
      broker,
      process,
      group,
      clock,
      pipeline: build(equipment, calls),
      onSettled({ id }, outcome) {
        if (!isAlive(process, incarnation)) return
        sim.say(who, `${id} is ${outcome}`)
        book.settle(id, group, outcome)
        if (outcome === 'handled' && book.fate(id, group)?.starts === 0)
          sim.violate('handler', `${id} was handled, but not by a handler made with handler(…): wrap yours in it`)
      },
    })

    const startAgain = (): void =>
      sim.later(restartAfterMs, `${process.name} is started again`, () => {
        if (process.incarnation !== incarnation) return
        process.incarnation++
        process.state = 'up'
        process.wasPaused = false
        sim.say(nameOf(process), 'starts again')
        start(process, group)
      })
    process.onCrash = () => {
      broker.watch(consumer.member)
      database.disconnect(process)
      startAgain()
    }
    process.onPause = () => broker.watch(consumer.member)
    process.onStop = () => {
      process.onStop = () => {}
      consumer.stop()
    }
    void consumer.run().then(
      () => {
        if (!isAlive(process, incarnation)) return
        sim.say(who, 'has ended')
        sim.retire(process)
        database.disconnect(process)
        startAgain()
      },
      (error: unknown) => {
        if (isAlive(process, incarnation)) sim.violate('no-crash', `the consumer of ${who} failed: ${String(error)}`)
      },
    )
  }

  for (let number = 0; number < size.messages; number++) {
    const afterMs = sentAtMs(number + 1)
    if (afterMs === 0) produce(number)
    else sim.later(afterMs, `m${number + 1} is due`, () => produce(number))
  }
  for (const group of groups)
    for (let number = 0; number < size.consumers; number++) {
      const letter = String.fromCharCode(65 + number)
      const process = simulatedProcess(groups.length > 1 ? `${group}-${letter}` : letter)
      groupOf.set(process, group)
      start(process, group)
    }

  await sim.run()
  for (const { resources } of groupOf.keys()) for (const tearDown of resources) tearDown()
  const [mistake] = mistakes
  if (mistake !== undefined) throw mistake
  conclude()
  return { simulation: sim, ledger: book }
}
