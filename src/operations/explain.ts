import type { ClaimRecord, MessageTraces, ParkedTrace } from './store.ts'

/** One thing that happened to a message. */
export interface Happening {
  /** `null`: it is true now; since when is not known. */
  readonly atMs: number | null
  readonly source: 'claim' | 'dead letter' | 'redrive' | 'outbox' | 'parked' | 'journal' | 'operator'
  readonly who: string
  readonly what: string
}

/** All that is known about a message, oldest first. The present state comes last. */
export interface Explanation {
  readonly messageId: string
  readonly happenings: readonly Happening[]
  readonly traceIds: readonly string[]
  readonly incomplete: readonly string[]
}

export function explanationOf(messageId: string, traces: MessageTraces): Explanation {
  const happenings: Happening[] = []
  for (const { atMs, destination, state, error } of traces.outbox) {
    const what = {
      waiting: 'added, not cleaned up yet',
      delayed: 'waits for its time',
      refused: `refused for good: ${error ?? ''}`,
    }
    happenings.push({ atMs, source: 'outbox', who: destination, what: what[state] })
  }
  for (const parked of traces.parked)
    happenings.push({ atMs: parked.sinceMs, source: 'parked', who: parked.pipeline, what: parkedText(parked) })
  for (const { atMs, pipeline, what, attempt, detail } of traces.journal)
    happenings.push({
      atMs,
      source: 'journal',
      who: pipeline,
      what: `${what}, attempt ${attempt}${detail === null ? '' : `: ${detail}`}`,
    })
  for (const letter of traces.letters) {
    const who = letter.pipeline
    const deaths =
      letter.history.length > 0 ? letter.history : [{ timeMs: letter.firstMs, ...letter, host: '', version: null }]
    const earlier = letter.deaths - deaths.length
    if (earlier > 0)
      happenings.push({
        atMs: letter.firstMs,
        source: 'dead letter',
        who,
        what: `letter ${letter.id}: died ${earlier} times before`,
      })
    for (const { timeMs, errorName, errorMessage, host, version } of deaths) {
      const where = [host, version ?? ''].filter((part) => part !== '').join(' ')
      happenings.push({
        atMs: timeMs,
        source: 'dead letter',
        who,
        what: `letter ${letter.id}: given up (${letter.reason}) with ${errorName}: ${errorMessage}${where === '' ? '' : ` on ${where}`}`,
      })
    }
    if (letter.state !== 'dead')
      happenings.push({
        atMs: letter.changedMs,
        source: 'dead letter',
        who,
        what: `letter ${letter.id}: ${stateText(letter.state, letter.replacedBy)}`,
      })
    if (letter.replaces !== null)
      happenings.push({
        atMs: letter.firstMs,
        source: 'dead letter',
        who,
        what: `letter ${letter.id}: made by editing letter ${letter.replaces}`,
      })
  }
  for (const { atMs, by, redrive, letter, result } of traces.redrives)
    happenings.push({
      atMs,
      source: 'redrive',
      who: by,
      what: `redrive ${redrive} took letter ${letter}: ${result ?? 'no result yet'}`,
    })
  for (const { atMs, by, act, letter } of traces.acts)
    happenings.push({ atMs, source: 'operator', who: by, what: `${act}, letter ${letter}` })
  happenings.sort((a, b) => (a.atMs ?? 0) - (b.atMs ?? 0))
  for (const claim of traces.claims)
    happenings.push({ atMs: null, source: 'claim', who: claim.scope, what: claimText(claim) })
  return {
    messageId,
    happenings,
    traceIds: [...new Set(traces.letters.flatMap(({ traceId }) => (traceId === null ? [] : [traceId])))],
    incomplete: traces.incomplete,
  }
}

function parkedText({ claimKey, ahead, attempts, error, nextMs, held }: ParkedTrace): string {
  const because = error === null ? '' : `: ${error}`
  if (ahead > 0) return `key ${claimKey}: parked behind ${ahead} ${ahead === 1 ? 'message' : 'messages'} of its key`
  if (nextMs === null) return `key ${claimKey}: blocks the others of its key until an operator acts${because}`
  const times = `${attempts} ${attempts === 1 ? 'attempt' : 'attempts'}`
  if (held) return `key ${claimKey}: parked, a worker runs it now, ${times}${because}`
  return `key ${claimKey}: parked, tried again at ${new Date(nextMs).toISOString()}, ${times}${because}`
}

function stateText(state: string, replacedBy: string | null): string {
  if (state === 'redriving') return 'sent again, and nothing heard of it yet'
  if (state === 'replaced') return `replaced by letter ${replacedBy ?? 'unknown'}`
  return state
}

export function claimText({ state, attempts, key, leaseMs, retainedMs, failure, generation }: ClaimRecord): string {
  const redriven = generation > 0 ? `, redrive ${generation}` : ''
  const times = `${attempts} ${attempts === 1 ? 'attempt' : 'attempts'}${redriven}`
  const until = (ms: number | null): string => (ms === null ? 'unknown' : new Date(ms).toISOString())
  if (state === 'in-progress') return `key ${key}: in progress, lease until ${until(leaseMs)}, ${times}`
  if (state === 'released') return `key ${key}: given back, ${times}`
  if (state === 'failed')
    return `key ${key}: failed for good (${failure?.reason ?? 'unknown'}), remembered until ${until(retainedMs)}, ${times}`
  return `key ${key}: completed, remembered until ${until(retainedMs)}, ${times}`
}

/** The timeline as a Mermaid diagram, for a ticket or a chat. No text of a message can end its line or its diagram. */
export function explanationAsMermaid({ messageId, happenings }: Explanation): string {
  const names = [...new Set(happenings.map(({ who }) => who))]
  const alias = (who: string): string => `p${names.indexOf(who)}`
  return [
    'sequenceDiagram',
    `  title message ${mermaidText(messageId)}`,
    ...names.map((who) => `  participant ${alias(who)} as ${mermaidText(who)}`),
    ...happenings.map(
      ({ atMs, who, source, what }) =>
        `  Note over ${alias(who)}: ${atMs === null ? 'now' : new Date(atMs).toISOString()} ${source}<br/>${mermaidText(what)}`,
    ),
  ].join('\n')
}

function mermaidText(text: string): string {
  return text
    .slice(0, 300)
    .toWellFormed()
    .replace(/[^\p{L}\p{N} .,:_/=()'-]/gu, (found) => `#${found.codePointAt(0) ?? 32};`)
}
