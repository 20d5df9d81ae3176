import type { Facts, Stage } from './delivery.ts'
import { HoldfastError } from './errors.ts'

/** The guarantee of a pipeline and its worst cases, computed from its stages. */
export interface Description {
  readonly name: string
  readonly stages: readonly Stage[]
  readonly guarantee: string
  /** The most handler starts in one delivery. */
  readonly worstAttempts: number
  /** The longest that one delivery may take, in ms, when every attempt times out. `null` if nothing bounds it. */
  readonly worstMs: number | null
  readonly warnings: readonly string[]
  /** The whole description as text. */
  toString(): string
}

/** Throws for an order of stages that loses messages, repeats work or removes a bound. The error gives the reason. */
export function refuseBadOrder(name: string, stages: readonly Stage[]): void {
  const refuse = (problem: string): never => {
    throw new HoldfastError('bad-order', `${name}: ${problem}`)
  }
  stages.forEach((stage, at) => {
    const outside = new Set(stages.slice(0, at).map((each) => each.name))
    const inside = new Set(stages.slice(at + 1).map((each) => each.name))
    for (const [other, reason] of Object.entries(stage.notInside ?? {}))
      if (outside.has(other)) refuse(`${stage.name} must not stand inside ${other}: ${reason}`)
    for (const [other, reason] of Object.entries(stage.wantsOutside ?? {}))
      if (inside.has(other)) refuse(`${other} must stand outside ${stage.name}: ${reason}`)
    for (const [other, reason] of Object.entries(stage.needs ?? {}))
      if (!outside.has(other)) refuse(`${stage.name} needs ${other} outside it: ${reason}`)
    for (const [other, reason] of Object.entries(stage.excludes ?? {}))
      if (outside.has(other))
        refuse(
          other === stage.name ? `there are two ${other} stages: ${reason}` : `${stage.name} and ${other}: ${reason}`,
        )
  })
  const facts = factsOf(stages)
  const { maxConcurrent, poolSize, retainMs } = facts
  const worstMs = worstMsOf(facts)
  if (retainMs !== undefined && worstMs !== null && retainMs < worstMs)
    refuse(
      `idempotency remembers a key for ${days(retainMs)}, but one delivery may take ${days(worstMs)}: a duplicate could come later than that`,
    )
  if (maxConcurrent !== undefined && poolSize !== undefined && maxConcurrent > poolSize)
    refuse(
      `bulkhead lets ${maxConcurrent} handlers run, but the transaction's pool has ${poolSize} connections: the rest would hold leases and wait`,
    )
}

export function describe(name: string, stages: readonly Stage[]): Description {
  const facts = factsOf(stages)
  const worstAttempts = facts.maxAttempts ?? 1
  const worstMs = worstMsOf(facts)
  const guarantee = guaranteeOf(facts)
  const warnings = warningsOn(facts, new Set(stages.map((stage) => stage.name)))
  const description = { name, stages, guarantee, worstAttempts, worstMs, warnings }
  return { ...description, toString: () => print(description) }
}

/** The facts of all stages as one. Nothing else merges them. */
export function factsOf(stages: readonly Stage[]): Facts {
  const facts = Object.assign({}, ...stages.map((stage) => stage.facts)) as Facts
  const widths = stages.flatMap((stage) => stage.facts?.maxConcurrent ?? [])
  // A delivery passes through all of them: the narrowest decides.
  return widths.length === 0 ? facts : { ...facts, maxConcurrent: Math.min(...widths) }
}

function worstMsOf({ maxAttempts = 1, timeoutMs, abandonAfterMs = 0, maxDelayMs = 0 }: Facts): number | null {
  if (timeoutMs === undefined) return null
  // A handler may go on for that much longer before it is given up, and may then still fail and be tried again.
  return maxAttempts * (timeoutMs + abandonAfterMs) + (maxAttempts - 1) * maxDelayMs
}

function guaranteeOf({ store, claim, completesInTransaction, database, retainMs }: Facts): string {
  if (store === undefined) return 'at least once: duplicates reach the handler, there is no idempotency()'
  const window = retainMs === undefined ? '' : ` within ${days(retainMs)}`
  const inside =
    claim === 'inside'
      ? '; first deliveries are claimed inside it, and what dies with its process counts no attempt'
      : ''
  if (completesInTransaction === true && database !== undefined)
    return `at least once; effects in the ${database} transaction happen once per key${window}${inside}; external effects may repeat unless they honour the fence`
  const memory = store === 'memory' ? ', known to this process alone' : ''
  return `at least once; completed keys are not handled again${window}${memory}; an effect may repeat where the process dies before its completion in ${store}`
}

// People look at dead letters the next morning.
const shortestRetainMs = 86_400_000

function warningsOn(facts: Facts, names: ReadonlySet<string>): string[] {
  const warnings: string[] = []
  if (facts.leaseMs !== undefined && facts.timeoutMs === undefined)
    warnings.push('a lease without a timeout(): a hung handler holds its key for ever')
  if (facts.retainMs !== undefined && facts.retainMs < shortestRetainMs)
    warnings.push(`keys are forgotten after ${days(facts.retainMs)}: what comes again later is handled again`)
  if (names.has('idempotency') && !names.has('retry'))
    warnings.push('idempotency() without retry(): a message that kills the process is claimed again for ever')
  if (!names.has('dead-letter'))
    warnings.push('no deadLetter(): what fails for good is handed back to the transport again and again')
  if (names.has('transaction') && facts.store !== undefined && facts.completesInTransaction !== true)
    warnings.push(
      `the claims are in ${facts.store}: they cannot complete inside the ${facts.database ?? ''} transaction`,
    )
  if (facts.keys === 'message id')
    warnings.push(
      'keys are message ids: without a message-id header that is the position (offset and timestamp), new for each duplicate of the producer',
    )
  if (facts.keys === 'digest of the bytes')
    warnings.push(
      'keys are digests of the bytes: messages with the same bytes are one; a tombstone goes by its message id',
    )
  return warnings
}

function print({ name, stages, guarantee, worstAttempts, worstMs, warnings }: Omit<Description, 'toString'>): string {
  const attempts = worstAttempts === 1 ? '1 attempt' : `${worstAttempts} attempts`
  const longest = worstMs === null ? 'no bound on the time' : `at most ${seconds(worstMs)}`
  return [
    name,
    ...stages.map((stage, depth) => `${'  '.repeat(depth)}└ ${stage.name}${printFacts(stage.facts)}`),
    `${'  '.repeat(stages.length)}└ handler`,
    `promises    ${guarantee}`,
    `worst case  ${attempts} in one delivery, ${longest}`,
    ...warnings.map((warning) => `note        ${warning}`),
  ].join('\n')
}

function printFacts(facts: Facts = {}): string {
  const shown = Object.entries(facts).map(([fact, value]) => `${fact} ${String(value)}`)
  return shown.length === 0 ? '' : `  (${shown.join(', ')})`
}

function days(ms: number): string {
  return ms >= 86_400_000 ? `${+(ms / 86_400_000).toFixed(1)} d` : seconds(ms)
}

function seconds(ms: number): string {
  return `${+(ms / 1000).toFixed(1)} s`
}
