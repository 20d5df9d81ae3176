import type { Rules } from './plants.ts'
import type { Attempt, Key, State } from './state.ts'
import { by, rarely, type Steps } from './step.ts'

/** Who handles the message: where its attempt is kept, and what an end of it means. */
export interface Handling {
  readonly who: string
  of(state: State): Attempt
  /** The message is acked; the outcome was `dead-lettered` where it `died`. */
  acked(state: State, died: boolean): void
  /** The message is nacked: it comes again. */
  nacked(state: State): void
}

/** Every step of one attempt: claim, run, complete or fail, bury, resolve, ack. */
export function attemptSteps(steps: Steps, state: State, rules: Rules, handling: Handling): void {
  const { who, of } = handling
  const attempt = of(state)
  const { generation, token } = attempt
  const holds = (next: State): boolean => next.key.state === 'in-progress' && next.key.token === token
  switch (attempt.at) {
    case 'got':
      claimSteps(steps, state, rules, handling)
      break
    case 'running':
      // The completion is in the handler's transaction: who lost the key commits nothing.
      by(steps, state, `${who} commits`, (next) => {
        if (!rules.has('no-idempotency') && !holds(next)) return handling.nacked(next)
        next.effects++
        next.key.state = 'completed'
        of(next).at = 'resolving'
      })
      by(steps, state, `${who} fails`, (next) => (of(next).at = 'failed'))
      rarely(steps, state, 'lapses', `${who} gives the key back`, (next) => {
        if (holds(next)) next.key.state = 'released'
        handling.nacked(next)
      })
      break
    case 'failed':
      by(steps, state, `${who} writes down that the key failed`, (next) => {
        if (!holds(next)) return handling.nacked(next)
        next.key.state = 'failed'
        of(next).at = 'burying'
      })
      break
    case 'burying':
      by(steps, state, `${who} buries generation ${generation}`, (next) => {
        bury(next, rules, generation)
        of(next).at = 'acking dead'
      })
      break
    case 'resolving':
      by(steps, state, `${who} resolves generation ${generation}`, (next) => {
        const { row } = next
        if (generation > 0 && row !== null && generation >= row.settled && isLive(row.state))
          next.row = { ...row, state: 'resolved', settled: generation }
        of(next).at = 'acking'
      })
      break
    case 'acking':
    case 'acking dead':
      by(steps, state, `${who} acks`, (next) => handling.acked(next, attempt.at === 'acking dead'))
  }
}

/** The claim is one statement: who may take the key is decided by what it is now. */
function claimSteps(steps: Steps, state: State, rules: Rules, handling: Handling): void {
  const { who, of } = handling
  const { generation } = of(state)
  const { key } = state
  const take = (next: State): void => {
    const token = next.nextToken++
    next.key = { state: 'in-progress', token, generation }
    Object.assign(of(next), { at: 'running', token })
    next.ran[generation] = true
  }
  if (rules.has('no-idempotency')) return by(steps, state, `${who} begins without a claim`, take)
  if (mayClaim(key, generation, rules) || (key.state === 'in-progress' && !isHeld(state)))
    return by(steps, state, `${who} claims for generation ${generation}`, take)
  if (key.state === 'in-progress') {
    rarely(steps, state, 'lapses', `${who} takes a key whose lease ended`, take)
    return by(steps, state, `${who} waits for the key`, (next) => handling.nacked(next))
  }
  const at = key.state === 'completed' ? 'resolving' : 'burying'
  by(steps, state, `${who} finds the key ${key.state}`, (next) => (of(next).at = at))
}

function mayClaim(key: Key, generation: number, rules: Rules): boolean {
  if (key.state === 'none' || key.state === 'released') return true
  if (key.state !== 'failed' || !rules.generations) return false
  return rules.has('claim-equal') ? generation > 0 && generation >= key.generation : generation > key.generation
}

function isHeld({ key, consumers, workers }: State): boolean {
  return [...consumers, ...workers.map(({ attempt }) => attempt)].some(
    (each) => each !== null && each.at !== 'got' && each.token === key.token,
  )
}

export function isLive(state: string): boolean {
  return state === 'dead' || state === 'redriving'
}

function bury(next: State, rules: Rules, generation: number): void {
  const { row } = next
  if (row === null) {
    next.row = { state: 'dead', generation, settled: generation, redrives: 0 }
    return
  }
  const newer = generation > row.settled
  const latest = rules.has('older-death-ends-newer') || generation >= row.generation
  const counts = rules.has('death-without-guard') || (newer && latest && isLive(row.state))
  if (!counts) return
  const settled = Math.max(row.settled, generation)
  next.row = { ...row, state: 'dead', settled, generation: Math.max(row.generation, settled) }
}
