import { setImmediate } from 'node:timers'
import type { Clock } from '../clock.ts'
import type { Claimed, Delivery, Middleware } from '../delivery.ts'
import { PermanentError, PublishError } from '../errors.ts'
import type { TransactionalIdempotencyStore } from '../idempotency/store.ts'
import type { Pipeline } from '../pipeline.ts'
import type { Outgoing, Publisher } from '../publisher.ts'
import { travelling, type Effects, type Travelling } from './effects.ts'
import type { Fault } from './faults.ts'
import type { Invariant } from './invariants.ts'
import { ledger, type Ledger, type LedgerEntry, type Noted } from './ledger.ts'
import { nameOf, simulatedProcess, type SimulatedProcess } from './process.ts'
import type { Size } from './schedule.ts'
import { simulatedBroker, type LogRecord } from './simulated-broker.ts'
import { simulatedConsumer, startedAtMs, type ConsumerFactory } from './simulated-consumer.ts'
import { simulatedDatabase, type Committed, type SimulatedClient, type SimulatedPool } from './simulated-database.ts'
import { simulatedTransaction } from './simulated-transaction.ts'
import { simulation } from './simulation.ts'
import { callFaults, type Chooser, type Simulation } from './task.ts'

/** What one simulated process is given. Made anew after every crash: what was in memory is gone. */
export interface Kit<E extends Effects> {
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
  readonly effects: Travelling<E>
  /** Wraps the handler, so that its beginning and end are seen. */
  handler<D extends Delivery>(handle: (delivery: D) => Promise<unknown> | void): (delivery: D) => Promise<void>
}

export interface Scenario<E extends Effects = Effects> {
  readonly name: string
  readonly size: Size
  readonly keys: number
  readonly groups: readonly string[]
  readonly faults: readonly Fault[]
  readonly invariants: readonly Invariant[]
  readonly effects: () => E
  readonly body: (number: number) => Uint8Array
  readonly build: (kit: Kit<E>) => Pipeline
  readonly consumer?: ConsumerFactory
  /** A planted bug of the store. */
  readonly checksToken?: boolean
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

/** A handler that was started and has not ended. */
interface Running {
  readonly process: SimulatedProcess
  readonly incarnation: number
  readonly by: string
  readonly signal: AbortSignal
}

const sendFaults: readonly Fault[] = ['duplicate', 'redelivery', 'reorder', 'poison']
const publishFaults: readonly Fault[] = [...callFaults, 'publisher-down', 'confirms-late', 'partial-batch']
const restartAfterMs = 5_000

// The test runner's own timers, and unhandled rejections, need a turn of the event loop now and then.
const breatheEveryMs = 50
let breathedMs = 0
let runs = 0

/** Runs one schedule from the beginning to where nothing is left to do. */
export async function runSchedule<E extends Effects>(
  scenario: Scenario<E>,
  chooser: Chooser,
  options: RunOptions = {},
): Promise<Run> {
  const run = await (scenario.run?.(scenario.size, chooser, options) ?? runConsumers(scenario, chooser, options))
  if (performance.now() - breathedMs > breatheEveryMs) {
    await new Promise((resolve) => setImmediate(resolve))
    breathedMs = performance.now()
  }
  return run
}

async function runConsumers<E extends Effects>(
  scenario: Scenario<E>,
  chooser: Chooser,
  { record = false }: RunOptions,
): Promise<Run> {
  const { size, groups, invariants } = scenario
  const number = runs++
  const sim = simulation({ chooser, record, maxSteps: 2_000 + 400 * size.messages, strike, onCommit: committedReally })
  const groupOf = new Map<SimulatedProcess, string>()
  const poisoned = new Set<string>()
  const answers = new Map<string, unknown>()
  const effects = scenario.effects()
  const running = new Map<string, Running>()
  let publisherDownUntilMs = 0

  const broker = simulatedBroker({ simulation: sim, partitions: size.partitions, onCommit: acked })
  const database = simulatedDatabase({
    simulation: sim,
    onCommit: committed,
    ...(scenario.checksToken !== undefined && { checksToken: scenario.checksToken }),
  })
  const book = ledger({
    groups,
    nowMs: () => sim.nowMs,
    faults: () => sim.deviations.length,
    remaining: (group) =>
      broker.logs.reduce((left, log, partition) => left + log.length - broker.committed(group, partition), 0),
  })

  function note(entry: Noted): void {
    check(book.note(entry))
  }

  function check(entry: LedgerEntry): void {
    for (const { name, onEntry } of invariants) {
      const wrong = onEntry?.(entry, book)
      if (wrong !== undefined) sim.violate(name, wrong)
    }
  }

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
    } else if (fault === 'publisher-down') {
      publisherDownUntilMs = sim.nowMs + ms
      sim.say('broker', `takes no messages for ${ms / 1000} s`)
    } else return false
    return true
  }

  function produce(number: number): void {
    const id = `m${number + 1}`
    const lane = number % scenario.keys
    const partition = lane % size.partitions
    const key = `k${lane + 1}`
    const body = scenario.body(number + 1)
    const append = (): void => {
      if (book.sent.every((message) => message.id !== id)) {
        book.send(id, key)
        note({ kind: 'sent', by: 'producer', group: groups[0] ?? '', messageId: id })
      }
      broker.append(partition, id, key, body)
      sim.say('producer', `sends ${id} (${key}) to p${partition}`)
    }
    sim.ready({
      label: `send ${id}`,
      process: null,
      phase: 'send',
      faults: sendFaults,
      run(deviation) {
        const { do: what, ms = 0 } = deviation ?? {}
        if (what === 'poison') {
          sim.say('producer', `${id} can never be handled`)
          poisoned.add(id)
        }
        if (what === 'reorder') sim.later(ms, `send ${id} late`, append)
        else append()
        if (what === 'duplicate' && ms === 0) append()
        else if (what === 'duplicate' || what === 'redelivery') sim.later(ms, `send ${id} again`, append)
        return true
      },
    })
  }

  function publisherOf(
    process: SimulatedProcess,
    verb: string,
    onPublished: (message: Outgoing<unknown>) => void,
  ): Publisher {
    return {
      async publish(messages) {
        const name = `${verb} ${messages.map(({ id }) => id).join(', ')}`
        const publish = (some: typeof messages): void => some.forEach(onPublished)
        await sim.op(process, name, () => publish(messages), {
          faults: publishFaults,
          refuses: () => (sim.nowMs < publisherDownUntilMs ? 'fails: the broker takes no messages' : undefined),
          strike(deviation) {
            if (deviation.do !== 'partial-batch' || messages.length < 2) return undefined
            publish(messages.slice(0, 1))
            const failures = messages
              .slice(1)
              .map((_, i) => ({ index: i + 1, error: new Error('not taken'), permanent: false }))
            return new PublishError('only the first message was taken', failures)
          },
        })
      },
    }
  }

  function start(process: SimulatedProcess, group: string): void {
    const { incarnation } = process
    const who = nameOf(process)
    const isAlive = (): boolean => process.incarnation === incarnation && process.state !== 'over'
    const clock: Clock = {
      now: () => sim.nowMs,
      wall: () => startedAtMs + sim.nowMs + process.skewMs,
      after: (ms, callback, idle = false) => sim.after(process, ms, callback, { idle }),
    }

    async function handle<D extends Delivery>(
      handler: (delivery: D) => Promise<unknown> | void,
      delivery: D,
    ): Promise<void> {
      const { message, signal } = delivery
      const about = { by: who, group, messageId: message.id }
      const other = running.get(`${group}/${message.id}`)
      const besides = other !== undefined && !isExcused(other) ? other.by : null
      const token = 'fence' in delivery && typeof delivery.fence === 'bigint' ? delivery.fence : undefined
      sim.say(who, `handler starts ${message.id}${token === undefined ? '' : ` (fence ${token})`}`)
      note({ ...about, kind: 'started', aborted: signal.aborted, besides })
      if (poisoned.has(message.id)) throw new PermanentError(`${message.id} can never be handled`)
      const mine = { process, incarnation, by: who, signal }
      running.set(`${group}/${message.id}`, mine)
      try {
        await sim.within(process, message.id, async () => handler(delivery), true)
        if (!('tx' in delivery) && isAlive()) note({ ...about, kind: 'completed' })
      } finally {
        if (running.get(`${group}/${message.id}`) === mine) running.delete(`${group}/${message.id}`)
        note({ ...about, kind: 'ended', aborted: signal.aborted, pastLeaseMs: pastLease(token, signal) })
      }
    }

    function pastLease(token: bigint | undefined, signal: AbortSignal): number {
      if (token === undefined || signal.aborted || process.wasPaused) return 0
      const row = database.claims.byToken(token)
      return row?.state === 'in-progress' ? Math.max(0, sim.nowMs - row.untilMs) : 0
    }

    const pool = database.poolFor(process)
    const kit: Kit<E> = {
      name: who,
      group,
      run: number,
      clock,
      pool,
      store: database.storeFor(process),
      transaction: simulatedTransaction(pool),
      deadLetters: publisherOf(process, 'dead-letter', ({ id }) =>
        note({ kind: 'dead-lettered', by: who, group, messageId: id }),
      ),
      publisher: publisherOf(process, 'publish', ({ id, destination }) =>
        note({ kind: 'effect', by: who, group, messageId: id, what: `publish to ${destination}` }),
      ),
      effects: travelling({
        effects,
        simulation: sim,
        process,
        answers,
        onEffect: (messageId, what) => note({ kind: 'effect', by: who, group, messageId, what }),
      }),
      handler: (handler) => (delivery) => handle(handler, delivery),
    }

    const consumer = (scenario.consumer ?? simulatedConsumer)({
      simulation: sim,
      broker,
      process,
      group,
      clock,
      pipeline: scenario.build(kit),
      onSettled({ id }, outcome) {
        if (!isAlive()) return
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
        if (!isAlive()) return
        sim.say(who, 'has ended')
        sim.retire(process)
        database.disconnect(process)
        startAgain()
      },
      (error: unknown) => {
        if (isAlive()) sim.violate('no-crash', `the consumer of ${who} failed: ${String(error)}`)
      },
    )
  }

  for (let number = 0; number < size.messages; number++) produce(number)
  for (const group of groups)
    for (let number = 0; number < size.consumers; number++) {
      const letter = String.fromCharCode(65 + number)
      const process = simulatedProcess(groups.length > 1 ? `${group}-${letter}` : letter)
      groupOf.set(process, group)
      start(process, group)
    }

  await sim.run()
  for (const { resources } of groupOf.keys()) for (const tearDown of resources) tearDown()
  for (const { name, atEnd } of invariants) {
    const wrong = sim.violation === undefined ? atEnd?.(book) : undefined
    if (wrong !== undefined) sim.violate(name, wrong)
  }
  return { simulation: sim, ledger: book }
}

/** What was told to stop, stood still or is dead may be overtaken. */
function isExcused({ process, incarnation, signal }: Running): boolean {
  return signal.aborted || process.wasPaused || process.state !== 'up' || process.incarnation !== incarnation
}
