import { attemptSteps, isLive, type Handling } from './attempt.ts'
import type { Rules } from './plants.ts'
import type { Attempt, State } from './state.ts'
import { by, rarely, type Steps } from './step.ts'
import { workerSteps } from './worker.ts'

/** Everything that can happen next. */
export function stepsFrom(state: State, rules: Rules): Steps {
  const steps: Steps = []
  for (const at of state.consumers.keys()) consumerSteps(steps, state, rules, at)
  for (const at of state.workers.keys()) workerSteps(steps, state, rules, at)
  operatorSteps(steps, state, rules)
  return steps
}

function consumerSteps(steps: Steps, state: State, rules: Rules, at: number): void {
  const who = `consumer ${at + 1}`
  if (state.consumers[at] === null) {
    const got = (generation: number) => (next: State) =>
      void (next.consumers[at] = { at: 'got', generation, token: 0, copyIsGone: false })
    state.copies.forEach((copies, generation) => {
      const held = state.consumers.filter((each) => each?.generation === generation && !each.copyIsGone).length
      if (held < copies) by(steps, state, `${who} gets generation ${generation}`, got(generation))
      else if (copies > 0) rarely(steps, state, 'lapses', `${who} gets generation ${generation} too`, got(generation))
    })
    if (state.copies[0] === 0)
      rarely(steps, state, 'redeliveries', 'the broker brings the original again', (next) => (next.copies[0] = 1))
    return
  }
  const handling: Handling = {
    who,
    of: (of) => of.consumers[at] ?? absent(),
    acked(next) {
      ack(next, this.of(next))
      next.consumers[at] = null
    },
    nacked: (next) => (next.consumers[at] = null),
  }
  attemptSteps(steps, state, rules, handling)
  rarely(steps, state, 'crashes', `${who} is killed`, (next) => (next.consumers[at] = null))
}

/** Two consumers may have one copy: who acks it second acks nothing. */
function ack(next: State, attempt: Attempt): void {
  const { generation } = attempt
  if (attempt.copyIsGone) return
  const left = (next.copies[generation] ?? 0) - 1
  next.copies[generation] = left
  const others = next.consumers.filter(
    (each) => each !== null && each !== attempt && each.generation === generation && !each.copyIsGone,
  )
  const other = others.length > left ? others[0] : undefined
  if (other !== undefined && other !== null) other.copyIsGone = true
}

export function absent(): Attempt {
  throw new Error('nobody handles a message here')
}

function operatorSteps(steps: Steps, state: State, rules: Rules): void {
  const { row } = state
  if (row === null) return
  const active = state.items.some(({ over }) => !over)
  if (row.state === 'dead' && !active)
    rarely(steps, state, 'redrives', 'the operator makes a redrive', (next) => {
      // A new decision, after the old one was cleaned up with its letter.
      if (next.decisionForgotten) Object.assign(next, { effectsAtDecision: -1, decisionForgotten: false })
      if (next.workers.every((worker) => worker.at === 'idle')) next.items = next.items.filter(({ over }) => !over)
      next.items.push({ over: false, token: 0, generation: 0 })
    })
  const decide = (to: 'dropped' | 'replaced') => (next: State) => {
    if (next.row === null) return
    next.row.state = to
    next.effectsAtDecision = next.effects
  }
  if (row.state === 'dead' || (rules.has('drop-blind') && isLive(row.state)))
    rarely(steps, state, 'drops', 'the operator drops the letter', decide('dropped'))
  if (row.state === 'dead' || (rules.has('edit-blind') && isLive(row.state)))
    rarely(steps, state, 'edits', 'the operator edits the letter', decide('replaced'))
  if (row.state === 'redriving') {
    if (state.key.state === 'completed')
      rarely(steps, state, 'cleanUps', 'housework resolves the letter', (next) => {
        if (next.row !== null) next.row = { ...next.row, state: 'resolved', settled: next.row.generation }
      })
    // Its permission is spent in the failed key. A key in another state is at work: the letter stays.
    const spends = !rules.has('reopen-without-spending')
    if (spends && state.key.state !== 'failed') return
    rarely(steps, state, 'reopens', 'the operator reopens the letter', (next) => {
      if (next.row === null) return
      if (spends) next.key.generation = Math.max(next.key.generation, next.row.generation)
      next.row = { ...next.row, state: 'dead', settled: next.row.generation }
      // Given up by a person: nobody waits for it to run.
      next.ran[next.row.generation] = true
      for (const item of next.items) item.over = true
    })
  }
  if (!isLive(row.state) && !active)
    rarely(steps, state, 'cleanUps', 'clean-up deletes the letter', (next) => {
      next.row = null
      if (next.effectsAtDecision >= 0) next.decisionForgotten = true
    })
}
