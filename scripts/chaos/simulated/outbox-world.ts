import { outboxRelay } from '../../../src/outbox/relay.ts'
import type { Publisher } from '../../../src/core/publisher.ts'
import { audit } from '../../../src/testing/world/audit.ts'
import { allFaults, type Fault } from '../../../src/testing/world/faults.ts'
import { invariantsFrom } from '../../../src/testing/world/invariants.ts'
import { ledger } from '../../../src/testing/world/ledger.ts'
import { nameOf, simulatedProcess, type SimulatedProcess } from '../../../src/testing/world/process.ts'
import type { Size } from '../../../src/testing/explorer/schedule.ts'
import { scopes } from '../../../src/testing/world/scope.ts'
import { simulatedClock } from '../../../src/testing/world/simulated-clock.ts'
import { publishFaults, simulatedPublishing } from '../../../src/testing/world/simulated-publisher.ts'
import { simulation } from '../../../src/testing/world/simulation.ts'
import type { Chooser } from '../../../src/testing/world/task.ts'
import type { Run, RunOptions, Scenario } from '../../../src/testing/world/world.ts'
import { outboxDatabase, simulatedOutboxStore, slotAt, type OutboxBugs } from './outbox-store.ts'
import { snapshotTable } from './snapshots.ts'

const keys = 2
const group = 'outbox'
const restartAfterMs = 5_000
const endsAfterMs = 240_000
const writerFaults: readonly Fault[] = ['crash', 'pause', 'slow', 'fail', 'lose-reply']
const relayFaults = publishFaults.filter((fault) => fault !== 'rebalance')
const invariants = invariantsFrom('outbox', ['no-loss', 'key-order'])

/**
 * Writers, each with one transaction, and real relays over a model of PostgreSQL's snapshots. In `size`, messages are
 * writers, consumers are relays and partitions are shards.
 */
export function outboxScenario(bugs: OutboxBugs = {}): Scenario {
  return {
    name: 'outbox',
    size: { messages: 5, consumers: 2, partitions: 1 },
    keys,
    groups: [group],
    faults: allFaults.filter((fault) => [...writerFaults, ...relayFaults, 'store-down'].includes(fault)),
    invariants,
    body: () => new Uint8Array(),
    begin() {
      throw new TypeError('this world has no consumers')
    },
    run: (size, chooser, options) => runOutbox(size, chooser, options, bugs),
  }
}

async function runOutbox(size: Size, chooser: Chooser, { record = false }: RunOptions, bugs: OutboxBugs): Promise<Run> {
  const sim = simulation({ chooser, record, maxSteps: 6_000, strike })
  const table = snapshotTable()
  const database = outboxDatabase(table, size.partitions)
  const book = ledger({
    groups: [group],
    nowMs: () => sim.nowMs,
    faults: () => sim.deviations.length,
    remaining: () => 0,
  })
  const { note, conclude } = audit(book, invariants, sim)
  const publishing = simulatedPublishing(sim, relayFaults)
  const relays = new Set<AbortController>()
  let writing = size.messages
  let over = false

  function strike(fault: Fault, { process }: { readonly process: SimulatedProcess | null }, { ms = 0 }): boolean {
    if (fault === 'store-down') {
      database.downUntilMs = sim.nowMs + ms
      sim.say('database', `is down for ${ms / 1000} s`)
    } else if (fault === 'publisher-down') publishing.goDown(ms)
    else if (fault === 'stop' && process !== null) {
      sim.say(nameOf(process), 'is asked to end')
      process.onStop()
    } else return fault === 'rebalance' || fault === 'clock-skew'
    return true
  }

  function write(number: number): void {
    const process = simulatedProcess(`W${number + 1}`)
    const messageId = `m${number + 1}`
    const key = `k${(number % keys) + 1}`
    const transaction = table.begin()
    const call = (name: string, apply: () => Promise<void> | undefined | void) =>
      sim.op(process, name, () => apply() ?? undefined, { faults: writerFaults })

    function end(): void {
      if (transaction.isOpen) transaction.rollback()
      writing--
    }

    process.onCrash = () => sim.later(100, `the connection of ${process.name} ends`, end)
    void sim
      .within(process, messageId, async () => {
        // Something of its own comes first, as in most transactions: its number is drawn long before its row's id.
        await call('writes an order', () => transaction.write())
        await call(`locks ${key}`, () => waiting(transaction.lock(key)))
        await call(`adds ${messageId}`, () =>
          transaction.insert({ key, messageId, shard: number % size.partitions, slot: slotAt(sim.nowMs) }),
        )
        await call(`commits ${messageId}`, () => {
          if (!transaction.isOpen) return
          transaction.commit()
          book.send(messageId, key)
        })
      })
      .then(end, () => sim.later(100, `the connection of ${process.name} ends`, end))
  }

  function publisherOf(process: SimulatedProcess): Publisher {
    return publishing.publisherFor(process, 'publish', ({ id: messageId }) => {
      const about = { messageId, by: nameOf(process), group, what: 'publish' }
      note({ ...about, kind: 'effect' })
      note({ ...about, kind: 'completed' })
    })
  }

  function relay(process: SimulatedProcess): void {
    const { incarnation } = process
    const controller = new AbortController()
    const running = outboxRelay({
      ...{
        clock: simulatedClock(sim, process),
        random: sim.random,
        name: nameOf(process),
        publisher: publisherOf(process),
        batchRows: 2,
      },
      ...{ maxPollMs: 4_000, duePollMs: 60_000, rotateEveryMs: 20_000, statusEveryMs: 100_000 },
      store: simulatedOutboxStore(sim, process, database, bugs),
    })
    relays.add(controller)
    const again = (): void => {
      relays.delete(controller)
      sim.later(restartAfterMs, `${process.name} is started again`, () => {
        if (over || process.incarnation !== incarnation) return
        process.incarnation++
        process.state = 'up'
        sim.say(nameOf(process), 'starts again')
        relay(process)
      })
    }
    process.onCrash = again
    process.onStop = () => controller.abort()
    void running.run(controller.signal).then(
      () => {
        if (process.incarnation !== incarnation || process.state === 'over') return
        sim.retire(process)
        again()
      },
      (error: unknown) => sim.violate('no-crash', `the relay ${nameOf(process)} failed: ${String(error)}`),
    )
  }

  /** Relays run for ever: the run is over when all is published, or should have been for long. */
  function watch(): void {
    const done = writing === 0 && book.fates().every(({ completed }) => completed)
    if (done || sim.nowMs >= endsAfterMs) {
      over = true
      for (const controller of relays) controller.abort()
    } else sim.later(2_000, 'the audit looks', watch)
  }

  for (let number = 0; number < size.messages; number++) write(number)
  for (let number = 0; number < size.consumers; number++) relay(simulatedProcess(String.fromCharCode(65 + number)))
  watch()
  await sim.run()
  conclude()
  return { simulation: sim, ledger: book }
}

/** A wait for a lock is no wait for something outside. */
async function waitFor(lock: Promise<void>): Promise<void> {
  const scope = scopes.getStore()
  if (scope !== undefined) scope.pending++
  await lock
  if (scope !== undefined) scope.pending--
}

function waiting(lock: Promise<void> | undefined): Promise<void> | undefined {
  return lock === undefined ? undefined : waitFor(lock)
}
