import type { Delivery } from './delivery.ts'
import { subscribe, type CircuitState } from './events.ts'
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
  subscribe('circuit-changed', ({ name, to }) => {
    series('circuitChanges').of(name, to).value++
    for (const state of circuitStates) series('circuitState').of(name, state).value = Number(state === to)
  })
  subscribe(
    'consumer-changed',
    ({ system, group, change }) => series('consumerChanges').of(system, group, change).value++,
  )
  countOutbox({ series, distribution, isMeasured })
}

function countOutbox({ series, distribution }: Counted): void {
  const owned = new Map<string, number>()

  subscribe('outbox-published', ({ messages, lagMs }) => {
    series('outboxPublished').of().value += messages
    distribution('outboxLag')
      .of()
      .observe(lagMs / 1000)
  })
  subscribe('outbox-dead', () => series('outboxDead').of().value++)
  subscribe('outbox-outage', () => series('outboxOutages').of().value++)
  subscribe('outbox-refused', () => series('outboxRefused').of().value++)
  subscribe('outbox-rotated', ({ result }) => series('outboxRotations').of(result).value++)
  subscribe('outbox-status', (status) => {
    owned.set(status.relay, status.owned.length)
    series('outboxOwned').of().value = [...owned.values()].reduce((sum, count) => sum + count, 0)
    series('outboxPending').of().value = status.pending
    series('outboxOldestAge').of().value = (status.oldestAgeMs ?? 0) / 1000
    series('outboxDelayed').of().value = status.delayed
    series('outboxDeadRows').of().value = status.dead
    series('outboxUnheld').of().value = status.unheld
    series('outboxStatusTime').of().value = Date.now() / 1000
  })
}
