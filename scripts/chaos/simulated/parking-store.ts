import type { HeldClaim, TransactionalIdempotencyStore } from '../../../src/idempotency/store.ts'
import { MemoryLanes, type LaneClaims } from '../../../src/ordering/parking/memory-lanes.ts'
import type { Appended, ParkingStore } from '../../../src/ordering/parking/store.ts'
import type { BesideClaims, DatabaseCall } from '../../../src/testing/world/beside-claims.ts'
import { releasedMs, type ClaimTable } from '../../../src/testing/world/claim-table.ts'
import { simulatedProcess } from '../../../src/testing/world/process.ts'
import { simulatedClock } from '../../../src/testing/world/simulated-clock.ts'
import type { Simulation } from '../../../src/testing/world/task.ts'

export type StoreThatParks = TransactionalIdempotencyStore & ParkingStore

/** A fault planted in the store, by the names that `npm run chaos:parking` has for it too. */
export type ParkingBug =
  /** P-4: each process believes its own set of parked lanes, kept over a rebalance. */
  | 'stale-set'
  /** P-5: the look at the lane and the append are two steps. */
  | 'append-apart'
  /** P-12: messages that are appended at once get their places in another order. */
  | 'run-reversed'
  /** P-1: a lane ends although its tail has moved since it was read as empty. */
  | 'free-blindly'

export interface ParkedClaims extends BesideClaims {
  readonly lanes: MemoryLanes
}

export interface ParkedClaimsOptions {
  readonly bug?: ParkingBug | undefined
  /** Told after each call that may have parked something. */
  readonly onParked?: () => void
}

/** The lanes of the memory store beside the claims of the simulated database. Each call of a process travels. */
export function parkedClaims(
  simulation: Simulation,
  table: ClaimTable,
  { bug, onParked = () => {} }: ParkedClaimsOptions = {},
): ParkedClaims {
  const lanes = new MemoryLanes(laneClaims(table), simulatedClock(simulation, simulatedProcess('database')))
  const told = <T>(answer: T): T => {
    onParked()
    return answer
  }

  function parkingFor(call: DatabaseCall): ParkingStore {
    return {
      name: 'simulated',
      park: (request) => call(`park ${request.held.key}`, () => told(lanes.park(request)), { writes: [request.held] }),
      append: async (run) => {
        const names = run.map(({ key }) => key).join(', ')
        let answers: readonly Appended[] = []
        const append = async (): Promise<string> => (answers = await told(lanes.append(run))).join(', ')
        await call(`append ${names}`, append, { writes: run })
        return answers
      },
      rejoin: (request) => call(`rejoin ${request.key}`, () => told(lanes.rejoin(request)), { writes: [request] }),
      claimLanes: (request) => call('claim lanes', () => lanes.claimLanes(request), { quiet: true }),
      renewLanes: (leases, leaseMs) => call('renew lanes', () => lanes.renewLanes(leases, leaseMs)),
      load: (lease, limit) => call('load', () => lanes.load(lease, limit)),
      remove: async (rows) => {
        if (rows.length > 0) await call(`remove ${rows.map(({ key }) => key).join(', ')}`, () => lanes.remove(rows))
      },
      free: (lease, tail) => call('free', () => lanes.free(lease, tail)),
      reschedule: (lease, afterMs, head) =>
        call(`reschedule ${head?.key ?? ''}`, () => lanes.reschedule(lease, afterMs, head)),
      countLanes: (pipeline, most) => call('count lanes', () => lanes.countLanes(pipeline, most), { quiet: true }),
      status: (pipeline) => call('status', () => lanes.status(pipeline), { quiet: true }),
    }
  }

  return {
    lanes,
    refuses: (lane) => lanes.refuses(lane),
    has: (scope, key) => lanes.has(scope, key),
    completed: ({ scope, key }) => void lanes.remove([{ scope, key, generation: Infinity }]),
    storeFor(_, claims, call) {
      const store = { ...claims, ...parkingFor(call) }
      return bug === undefined ? store : withBug(bug, store, lanes, call)
    },
  }
}

export function parks(store: TransactionalIdempotencyStore | object): store is StoreThatParks {
  return 'claimLanes' in store
}

function laneClaims(table: ClaimTable): LaneClaims {
  const settle: LaneClaims['release'] = (held, attempts) => {
    const row = table.settle(held, 'released', releasedMs)
    if (row !== undefined) row.attempts = attempts
    return Promise.resolve(row === undefined ? 'lost' : 'ok')
  }
  return {
    known: (request) => table.known(request),
    holds: (held) => table.held(held) !== undefined,
    fenceOut(scope, key) {
      const row = table.row(scope, key)
      if (row?.state === 'in-progress') table.settle({ scope, key, token: row.token }, 'released', releasedMs)
    },
    release: settle,
    fail(held: HeldClaim, failure, retainMs) {
      const row = table.settle(held, 'failed', retainMs)
      if (row !== undefined) Object.assign(row, { failure, attempts: failure.attempts })
      return Promise.resolve(row === undefined ? 'lost' : 'ok')
    },
  }
}

function withBug(bug: ParkingBug, store: StoreThatParks, lanes: MemoryLanes, call: DatabaseCall): StoreThatParks {
  switch (bug) {
    case 'stale-set': {
      const seen = new Set<string>()
      return {
        ...store,
        claim({ lane, ...request }, options) {
          const asks = lane !== undefined && (lane.token !== null || seen.has(lane.name))
          return store.claim(asks ? { ...request, lane } : request, options)
        },
        park(request) {
          seen.add(request.lane)
          return store.park(request)
        },
      }
    }
    case 'append-apart':
      return {
        ...store,
        async append(run) {
          const [first] = run
          if (first === undefined) return []
          const lane = { pipeline: first.pipeline, name: first.lane, token: null }
          if (!(await call(`look for the lane of ${first.key}`, () => lanes.refuses(lane))))
            return run.map(() => 'again')
          // Where the lane has ended meanwhile, the row is in none, and no worker looks there.
          return call(`append ${first.key}`, () =>
            lanes.refuses(lane) ? lanes.append(run) : Promise.resolve(run.map(() => 'appended' as const)),
          )
        },
      }
    case 'run-reversed':
      return { ...store, append: async (run) => (await store.append(run.toReversed())).toReversed() }
    case 'free-blindly':
      return {
        ...store,
        free: (lease) =>
          call('free', async () => {
            const page = await lanes.load(lease, 1)
            return page === undefined ? 'lost' : lanes.free(lease, page.tail)
          }),
      }
  }
}
