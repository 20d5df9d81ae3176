export type ServiceName = 'postgres' | 'redis' | 'kafka'

/** A fault on real servers, and what we promise under it. */
export interface Scenario {
  readonly name: string
  /** The fault, in one sentence. */
  readonly what: string
  /** What we promise under it. */
  readonly promise: string
  /** Servers of `npm run services` that it uses; those of its own it starts itself. */
  readonly needs: readonly ServiceName[]
  /** What `--broken` can plant, so that the promise is seen to break. */
  readonly breaks?: Readonly<Record<string, string>>
  /** Injects the fault, lets everything settle, and counts. Cleans up in any case. */
  run(how: RunHow): Promise<Report>
}

export interface RunHow {
  readonly seed: number
  /** At full length, as opposed to some seconds. */
  readonly full: boolean
  /** At least so long, where the scenario can be made longer. */
  readonly minutes: number
  /** One of the scenario's `breaks`. */
  readonly broken: string | undefined
  /** The address of one of the servers in `needs`. */
  url(service: ServiceName): string
  /** Shows progress. */
  say(line: string): void
  /** Aborts when the run is to end early. */
  readonly signal: AbortSignal
}

export interface Report {
  /** What was really injected, counted where it happened. A fault that never happened proves nothing, so 0 fails. */
  readonly injected: Readonly<Record<string, number>>
  readonly messages: number
  readonly lost: number
  /** Effects beyond the first one of a message. */
  readonly doubled: number
  /** `null` where no order is promised. */
  readonly outOfOrder: number | null
  /** From the end of the fault to the next settled message; the longest, where there were several. */
  readonly recoveryMs: number | null
  /** Where we promise less: how much may happen, or that it is only counted. */
  readonly allowed?: { readonly doubled?: number | 'counted'; readonly lost?: number | 'counted' }
  /** Other promises that did not hold. */
  readonly violations?: readonly string[]
  /** What else was seen, in one line. */
  readonly notes?: string
}

/** Why the promise is broken, as the report tells; nothing where it was kept. */
export function violationsOf(report: Report): readonly string[] {
  const { injected, messages, lost, doubled, outOfOrder, allowed = {}, violations = [] } = report
  const found = [...violations]
  const faults = Object.entries(injected)
  if (faults.length === 0) found.push('no fault is named')
  for (const [fault, count] of faults) if (!(count > 0)) found.push(`not injected: ${fault}`)
  if (!(messages > 0)) found.push('no messages')
  if (!within(lost, allowed.lost)) found.push(`${lost} lost`)
  if (!within(doubled, allowed.doubled)) found.push(`${doubled} duplicate effects`)
  if (outOfOrder !== null && outOfOrder !== 0) found.push(`${outOfOrder} out of order`)
  return found
}

/** A figure that is no number is a fault of the count, not a zero. */
function within(count: number, allowed: number | 'counted' = 0): boolean {
  return count >= 0 && (allowed === 'counted' || count <= allowed)
}
