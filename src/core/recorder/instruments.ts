/** One kind of measurement. Names are OpenTelemetry's; Prometheus' follow from them. */
export interface Instrument {
  readonly kind: 'counter' | 'gauge' | 'histogram'
  readonly name: string
  readonly help: string
  /** Seconds are written as `s`, things that are counted in braces. */
  readonly unit: string
  readonly labels: readonly string[]
  /** How the gauges of several processes become one: what is about a shared store is the same in all of them. */
  readonly over?: 'sum' | 'max'
}

export type InstrumentId =
  | 'duration'
  | 'deliveries'
  | 'nacks'
  | 'inFlight'
  | 'attempts'
  | 'retries'
  | 'retryDelay'
  | 'retriesRefused'
  | 'abandoned'
  | 'duplicates'
  | 'conflicts'
  | 'leaseRenewals'
  | 'leasesLost'
  | 'deadLetters'
  | 'deadLetterFailures'
  | 'storeFailures'
  | 'circuitState'
  | 'circuitChanges'
  | 'circuitProbes'
  | 'circuitUnproven'
  | 'limitRefused'
  | 'limitPlaces'
  | 'shareOnline'
  | 'consumerChanges'
  | 'retryBudget'
  | 'lanes'
  | 'partReady'
  | 'partLive'
  | 'outboxPublished'
  | 'outboxDead'
  | 'outboxOutages'
  | 'outboxLag'
  | 'outboxRotations'
  | 'outboxPending'
  | 'outboxOldestAge'
  | 'outboxDelayed'
  | 'outboxDeadRows'
  | 'outboxOwned'
  | 'outboxUnheld'
  | 'outboxStatusTime'
  | 'outboxRefused'
  | 'outboxWindow'
  | 'outboxShardChanges'
  | 'parked'
  | 'parkingFull'
  | 'laneChanges'
  | 'parkedLanes'
  | 'parkedRows'
  | 'parkedBlocked'
  | 'parkedOldestAge'

/** Everything that is measured. Label values come from code and configuration, never from messages. */
export const instruments: Readonly<Record<InstrumentId, Instrument>> = {
  duration: {
    kind: 'histogram',
    name: 'messaging.process.duration',
    help: 'How long deliveries took, waits between attempts included',
    unit: 's',
    labels: ['pipeline', 'messaging.system', 'messaging.destination.name'],
  },
  deliveries: counter('deliveries', 'Deliveries that ended, by outcome; nacked ones come again', 'pipeline', 'outcome'),
  nacks: counter('nacks', 'Deliveries handed back, by what waits with the message', 'pipeline', 'holds'),
  inFlight: gauge('in_flight', 'Deliveries that are being handled', '{delivery}', 'sum', 'pipeline'),
  attempts: counter('attempts', 'Runs of the handler that ended, by result', 'pipeline', 'result'),
  retries: counter('retries', 'Attempts that followed a failed one within a delivery', 'pipeline'),
  retryDelay: {
    kind: 'histogram',
    name: 'holdfast.retry.delay',
    help: 'Waits before a message is tried again, within a delivery or until the next one',
    unit: 's',
    labels: ['pipeline'],
  },
  retriesRefused: counter('retries.refused', 'Retries that the budget did not allow at once', 'pipeline'),
  abandoned: counter('abandoned', 'Handlers given up because they ignored their signal', 'pipeline'),
  duplicates: counter('duplicates', 'Messages whose key was completed before', 'pipeline', 'suppressed'),
  conflicts: counter('conflicts', 'Known keys that came with another content', 'pipeline'),
  leaseRenewals: counter('lease.renewals', 'Leases of claims that were renewed', 'pipeline'),
  leasesLost: counter('leases.lost', 'Leases of claims that were lost while the handler ran', 'pipeline'),
  deadLetters: counter('dead_letters', 'Messages given up, by reason', 'pipeline', 'reason'),
  deadLetterFailures: counter('dead_letter.failures', 'Messages that the dead letter did not take', 'pipeline'),
  storeFailures: counter('store.failures', 'Calls that a store did not answer or refused', 'store', 'operation'),
  circuitState: gauge(
    'circuit.state',
    '1 for the state that the circuit is in, else 0',
    '{state}',
    'max',
    'circuit',
    'state',
  ),
  circuitChanges: counter('circuit.changes', 'Changes of the state of a circuit', 'circuit', 'to'),
  circuitProbes: counter(
    'circuit.probes',
    'Probes of a circuit that came to their end, by result',
    'circuit',
    'result',
  ),
  circuitUnproven: counter(
    'circuit.unproven',
    'Failed attempts that did not count, since the dependency answered too few others',
    'circuit',
  ),
  limitRefused: counter('limit.refused', 'Messages above a rate or above the places of their group', 'limit'),
  limitPlaces: gauge(
    'limit.places',
    'Places of a bulkhead, by state: in use, waited for, and granted to this process by the fleet',
    '{place}',
    'sum',
    'part',
    'state',
  ),
  shareOnline: gauge(
    'share.online',
    '1 while the store of shared circuits and limits answers, else 0',
    '{state}',
    'max',
    'share',
  ),
  consumerChanges: counter(
    'consumer.changes',
    'Joins, losses, crashes and stops of consumers',
    'system',
    'group',
    'change',
  ),
  retryBudget: gauge('retry.budget', 'Retries that the budget would allow now', '{token}', 'sum', 'budget'),
  lanes: gauge('lanes', 'Messages and keys in the lanes of a consumer, by state', '{item}', 'sum', 'part', 'state'),
  partReady: gauge('part.ready', '1 where the part can do its work', '{part}', 'sum', 'part'),
  partLive: gauge('part.live', '0 where nothing but a restart helps', '{part}', 'sum', 'part'),
  outboxPublished: counter('outbox.published', 'Messages of the outbox that were published and confirmed'),
  outboxDead: counter('outbox.dead', 'Messages of the outbox that the broker refused for good'),
  outboxOutages: counter('outbox.outages', 'Pages of the outbox that the broker did not take'),
  outboxLag: {
    kind: 'histogram',
    name: 'holdfast.outbox.publish.lag',
    help: 'From adding the oldest message of a page to the confirmation of all of them',
    unit: 's',
    labels: [],
  },
  outboxRotations: counter(
    'outbox.rotations',
    'Looks at a partition of the outbox that takes no new messages, by result',
    'slot',
    'result',
  ),
  outboxPending: gauge('outbox.pending', 'Committed messages that are not published yet', '{message}', 'max'),
  outboxOldestAge: gauge('outbox.oldest.age', 'The age of the oldest message that is not published yet', 's', 'max'),
  outboxDelayed: gauge('outbox.delayed', 'Messages whose time has not come', '{message}', 'max'),
  outboxDeadRows: gauge('outbox.dead.rows', 'Messages set aside, waiting for somebody to look', '{message}', 'max'),
  outboxOwned: gauge(
    'outbox.shards.owned',
    'Shards of the outbox that the relays of this process hold',
    '{shard}',
    'sum',
  ),
  outboxUnheld: gauge('outbox.shards.unheld', 'Shards of the outbox that no relay holds', '{shard}', 'max'),
  outboxStatusTime: gauge(
    'outbox.status.timestamp',
    'When a relay last told how the outbox is doing, since 1970',
    's',
    'max',
  ),
  outboxRefused: counter('outbox.refusals', 'Times that a relay refused to work until an operator has looked'),
  outboxWindow: gauge(
    'outbox.window',
    'Messages that a shard publishes page after page, counted when it began; 0 where one page suffices',
    '{message}',
    'sum',
    'shard',
  ),
  outboxShardChanges: counter(
    'outbox.shard.changes',
    'Shards that the relays of this process took and let go',
    'change',
  ),
  parked: counter('parked', 'Messages that were parked, as the first of their key or behind it', 'pipeline', 'place'),
  parkingFull: counter('parking.full', 'Messages that found no place among the parked ones', 'pipeline', 'full'),
  laneChanges: counter('parked.lane.changes', 'Parked keys that workers freed, blocked or lost', 'pipeline', 'change'),
  parkedLanes: gauge('parked.lanes', 'Keys with parked messages', '{key}', 'max', 'pipeline'),
  parkedRows: gauge('parked.messages', 'Messages that are parked', '{message}', 'max', 'pipeline'),
  parkedBlocked: gauge('parked.blocked', 'Keys that wait for an operator', '{key}', 'max', 'pipeline'),
  parkedOldestAge: gauge(
    'parked.oldest.age',
    'The age of the oldest parked message at the head of a key',
    's',
    'max',
    'pipeline',
  ),
}

export const instrumentIds: readonly InstrumentId[] = Object.keys(instruments).filter(
  (id): id is InstrumentId => id in instruments,
)

function counter(name: string, help: string, ...labels: readonly string[]): Instrument {
  return { kind: 'counter', name: `holdfast.${name}`, help, unit: `{${name}}`, labels }
}

function gauge(
  name: string,
  help: string,
  unit: string,
  over: 'sum' | 'max',
  ...labels: readonly string[]
): Instrument {
  return { kind: 'gauge', name: `holdfast.${name}`, help, unit, over, labels }
}

/** The bounds of the histograms, in seconds: those that OpenTelemetry advises, and beyond, since handlers may take long. */
export const durationBounds: readonly number[] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60]
