/** What can go wrong, by name. */
export type Fault =
  /** The process dies; what it had sent and not yet delivered is lost. */
  | 'crash'
  /** The process dies, but its requests on the way still reach the server. */
  | 'crash-after-send'
  /** The process stands still for a while (SIGSTOP, a full collection, a laptop lid). */
  | 'pause'
  /** One call takes long. */
  | 'slow'
  /** The call is carried out, and its answer never arrives. */
  | 'lose-reply'
  /** The call is not carried out, and fails. */
  | 'fail'
  /** The producer sends a message twice. */
  | 'duplicate'
  /** A message comes again minutes later. */
  | 'redelivery'
  /** A message is overtaken by later ones on its way to the broker. */
  | 'reorder'
  /** The handler can never succeed for a message. */
  | 'poison'
  /** Partitions move between the consumers. */
  | 'rebalance'
  /** The process is asked to end (SIGTERM). */
  | 'stop'
  /** One call outlasts the lease, and meanwhile its partition moves. */
  | 'outlive'
  /** A poll brings fewer messages than there are; a publish confirms only some. */
  | 'partial-batch'
  /** The process's wall clock jumps. */
  | 'clock-skew'
  /** The store answers nobody for a while. */
  | 'store-down'
  /** The publisher confirms nothing for a while. */
  | 'publisher-down'
  /** The publisher's confirmation takes long. */
  | 'confirms-late'

interface FaultKind {
  /** How long, one of these. */
  readonly ms?: readonly number[]
  /** A paused process wakes up to so many steps after its time: in the middle of what the others do. */
  readonly maxSteps?: number
  /** A fault that shows the same and is easier to understand, tried when a schedule is made shorter. */
  readonly simpler?: Fault
}

/** The numbers stand around the defaults they are to trouble: leases of 30 s, sessions of 10 s. */
export const faultKinds: Readonly<Record<Fault, FaultKind>> = {
  crash: {},
  'crash-after-send': { simpler: 'crash' },
  pause: { ms: [2_000, 12_000, 31_000, 45_000], maxSteps: 24, simpler: 'crash' },
  slow: { ms: [50, 5_000, 35_000] },
  'lose-reply': {},
  fail: {},
  duplicate: { ms: [0, 1_000] },
  redelivery: { ms: [120_000, 600_000] },
  reorder: { ms: [10, 1_000] },
  poison: {},
  rebalance: {},
  stop: {},
  outlive: {},
  'partial-batch': {},
  'clock-skew': { ms: [3_600_000, -3_600_000] },
  'store-down': { ms: [1_000, 40_000] },
  'publisher-down': { ms: [1_000, 40_000] },
  'confirms-late': { ms: [5_000, 35_000] },
}

/** Every fault's name. */
export const allFaults: readonly Fault[] = Object.keys(faultKinds).filter(isFault)

export function isFault(name: string): name is Fault {
  return Object.hasOwn(faultKinds, name)
}
