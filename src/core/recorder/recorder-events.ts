import type { Delivery } from '../delivery.ts'
import { subscribe, type CircuitState, type Events } from '../events.ts'
import type { InstrumentId } from './instruments.ts'
import type { Distribution, Family, Series } from './series.ts'

/** Where the measurements go. */
export interface Counted {
  series(this: void, id: InstrumentId): Family<Series>
  distribution(this: void, id: InstrumentId): Family<Distribution>
  /** Whether the pipeline has our middleware: what others do is not counted here. */
  isMeasured(this: void, pipeline: string): boolean
}

const circuitStates: readonly CircuitState[] = ['closed', 'open', 'half-open']
const shardChanges: readonly Events['outbox-shard-changed']['change'][] = ['claimed', 'released', 'lost', 'failed']
const rotationResults: readonly Events['outbox-rotated']['result'][] = ['cleaned', 'empty', 'busy', 'locked']

/** Counts what stages, stores, relays and consumers report, for as long as the process lives. */
export function countEvents({ series, distribution, isMeasured }: Counted): void {
  /** Adds one for a delivery of a measured pipeline. */
  function count(id: InstrumentId, { pipeline }: Delivery, ...labels: readonly string[]): void {
    if (isMeasured(pipeline)) series(id).of(pipeline, ...labels).value++
  }

  subscribe('attempt-failed', ({ delivery, nextInMs }) => {
    count('attempts', delivery, 'failed')
    if (nextInMs === null || !isMeasured(delivery.pipeline)) return
    count('retries', delivery)
    distribution('retryDelay')
      .of(delivery.pipeline)
      .observe(nextInMs / 1000)
  })
  subscribe('retry-refused', ({ delivery }) => count('retriesRefused', delivery))
  subscribe('abandoned', ({ delivery }) => count('abandoned', delivery))
  subscribe('duplicate-seen', ({ delivery, suppressed }) => count('duplicates', delivery, String(suppressed)))
  subscribe('conflict-seen', ({ delivery }) => count('conflicts', delivery))
  subscribe('lease-renewed', ({ delivery }) => count('leaseRenewals', delivery))
  subscribe('lease-lost', ({ delivery }) => count('leasesLost', delivery))
  subscribe('dead-lettered', ({ delivery, reason }) => count('deadLetters', delivery, reason))
  subscribe('dead-letter-failed', ({ delivery }) => count('deadLetterFailures', delivery))

  subscribe('store-failed', ({ store, operation }) => series('storeFailures').of(store, operation).value++)
  subscribe('circuit-changed', ({ name, to, group }) => {
    series('circuitChanges').of(name, to).value++
    // One of many tenants says nothing about the dependency as a whole.
    if (group !== undefined) return
    for (const state of circuitStates) series('circuitState').of(name, state).value = Number(state === to)
  })
  subscribe('probe-settled', ({ name, result }) => series('circuitProbes').of(name, result).value++)
  subscribe('attempt-unproven', ({ name }) => series('circuitUnproven').of(name).value++)
  subscribe('limit-reached', ({ name }) => series('limitRefused').of(name).value++)
  subscribe('share-changed', ({ share, online }) => (series('shareOnline').of(share).value = Number(online)))
  subscribe(
    'consumer-changed',
    ({ system, group, change }) => series('consumerChanges').of(system, group, change).value++,
  )
  countOutbox({ series, distribution, isMeasured })
  countParking(series, isMeasured)
}

const laneEnds: readonly Events['lane-changed']['change'][] = ['freed', 'blocked', 'lost']
const ofParking = ['parkedLanes', 'parkedRows', 'parkedBlocked', 'parkedOldestAge'] as const

function countParking(series: Counted['series'], isMeasured: Counted['isMeasured']): void {
  subscribe('parked', ({ delivery: { pipeline } }) => {
    if (isMeasured(pipeline)) series('parked').of(pipeline, 'head').value++
  })
  subscribe('appended', ({ delivery: { pipeline } }) => {
    if (isMeasured(pipeline)) series('parked').of(pipeline, 'behind').value++
  })
  subscribe('parking-full', ({ delivery: { pipeline }, full }) => {
    if (isMeasured(pipeline)) series('parkingFull').of(pipeline, full).value++
  })
  subscribe('lane-changed', ({ pipeline, change }) => {
    for (const each of laneEnds) series('laneChanges').of(pipeline, each)
    series('laneChanges').of(pipeline, change).value++
  })
  const workers = new Set<string>()
  subscribe('parking-status', ({ worker, pipeline, lanes, rows, blocked, oldestAgeMs }) => {
    workers.add(worker)
    series('parkedLanes').of(pipeline).value = lanes
    series('parkedRows').of(pipeline).value = rows
    series('parkedBlocked').of(pipeline).value = blocked
    series('parkedOldestAge').of(pipeline).value = (oldestAgeMs ?? 0) / 1000
  })
  // What nobody looks at any more is not known.
  subscribe('parking-worker-ended', ({ worker }) => {
    if (workers.delete(worker) && workers.size === 0) for (const id of ofParking) series(id).clear()
  })
}

function countOutbox({ series, distribution }: Counted): void {
  subscribe('outbox-published', ({ messages, lagMs }) => {
    series('outboxPublished').of().value += messages
    distribution('outboxLag')
      .of()
      .observe(lagMs / 1000)
  })
  subscribe('outbox-dead', () => series('outboxDead').of().value++)
  subscribe('outbox-outage', () => series('outboxOutages').of().value++)
  subscribe('outbox-refused', () => series('outboxRefused').of().value++)
  subscribe('outbox-rotated', ({ slot, result }) => {
    // The rate of a series that appears late misses its first.
    for (const each of rotationResults) series('outboxRotations').of(String(slot), each)
    series('outboxRotations').of(String(slot), result).value++
  })

  subscribe('outbox-window', ({ shard, messages }) => {
    series('outboxWindow').of(String(shard)).value = messages
  })
  subscribe('outbox-shard-changed', ({ shard, change }) => {
    for (const each of shardChanges) series('outboxShardChanges').of(each)
    series('outboxShardChanges').of(change).value++
    // A window goes on with the relay that takes the shard, which has not counted it.
    series('outboxWindow').of(String(shard)).value = 0
  })

  // The latest to tell stands last.
  const statuses = new Map<string, Status>()
  subscribe('outbox-status', (status) => {
    statuses.delete(status.relay)
    statuses.set(status.relay, { ...status, toldAtMs: Date.now() })
    showStatuses(statuses, series)
  })
  subscribe('outbox-relay-ended', ({ relay }) => {
    if (statuses.delete(relay)) showStatuses(statuses, series)
  })
}

type Status = Events['outbox-status'] & { readonly toldAtMs: number }

const ofStatus = [
  'outboxOwned',
  'outboxPending',
  'outboxOldestAge',
  'outboxDelayed',
  'outboxDeadRows',
  'outboxUnheld',
  'outboxStatusTime',
] as const

/** What the relays of this process hold, and the outbox as the last of them saw it; nothing where none runs any more. */
function showStatuses(statuses: ReadonlyMap<string, Status>, series: Counted['series']): void {
  const all = [...statuses.values()]
  const last = all.at(-1)
  if (last === undefined) {
    for (const id of ofStatus) series(id).clear()
    return
  }
  series('outboxOwned').of().value = all.reduce((sum, { owned }) => sum + owned.length, 0)
  series('outboxPending').of().value = last.pending
  series('outboxOldestAge').of().value = (last.oldestAgeMs ?? 0) / 1000
  series('outboxDelayed').of().value = last.delayed
  series('outboxDeadRows').of().value = last.dead
  series('outboxUnheld').of().value = last.unheld
  series('outboxStatusTime').of().value = last.toldAtMs / 1000
}
