import { attemptSteps, type Handling } from './attempt.ts'
import type { Rules } from './plants.ts'
import type { State, Worker } from './state.ts'
import { by, rarely, type Steps } from './step.ts'
import { absent } from './world.ts'

const mostCopies = 3

/** A redrive worker: it leases the lane, begins the letter, sends it by the route, and advances. */
export function workerSteps(steps: Steps, state: State, rules: Rules, at: number): void {
  const who = `worker ${at + 1}`
  const worker = of(state, at)
  if (worker.at === 'idle') return leaseSteps(steps, state, at)
  const { item: index, token, generation } = worker
  switch (worker.at) {
    case 'leased':
      by(steps, state, `${who} begins the letter`, (next) => begin(next, rules, at))
      break
    case 'sending':
      if (rules.route === 'pipeline') {
        const handling: Handling = {
          who,
          of: (from) => of(from, at).attempt ?? absent(),
          acked(next, died) {
            if (died) diedAgain(next, generation)
            Object.assign(of(next, at), { at: 'advancing', attempt: null })
          },
          nacked: (next) => giveBack(next, at),
        }
        attemptSteps(steps, state, rules, handling)
      } else if ((state.copies[generation] ?? 0) < mostCopies)
        by(steps, state, `${who} publishes generation ${generation}`, (next) => {
          next.copies[generation] = (next.copies[generation] ?? 0) + 1
          of(next, at).at = rules.has('send-then-reset') ? 'resetting' : 'advancing'
        })
      break
    case 'resetting':
      by(steps, state, `${who} resets the key`, (next) => {
        if (next.key.state === 'failed') next.key.state = 'released'
        of(next, at).at = 'advancing'
      })
      break
    case 'advancing':
      by(steps, state, `${who} advances`, (next) => {
        const item = next.items[index]
        if (item?.token === token && !item.over) {
          item.over = true
          if (rules.has('send-then-delete')) next.row = null
        }
        rest(next, at)
      })
  }
  rarely(steps, state, 'crashes', `${who} is killed`, (next) => rest(next, at))
}

function leaseSteps(steps: Steps, state: State, at: number): void {
  state.items.forEach((item, index) => {
    if (item.over) return
    const held = state.workers.some((other, n) => n !== at && other.at !== 'idle' && other.token === item.token)
    const lease = (next: State): void => {
      const token = next.nextToken++
      Object.assign(of(next, at), { at: 'leased', token, item: index })
      Object.assign(next.items[index] ?? {}, { token })
    }
    if (!held) by(steps, state, `worker ${at + 1} leases the lane`, lease)
    else rarely(steps, state, 'lapses', `worker ${at + 1} leases a lane whose lease ended`, lease)
  })
}

/** BEGIN: a generation is given once, by a statement that asks whether the letter is dead. */
function begin(next: State, rules: Rules, at: number): void {
  const worker = of(next, at)
  const item = next.items[worker.item]
  const { row } = next
  if (item === undefined || item.over || item.token !== worker.token) return rest(next, at)
  const resumed = item.generation > 0
  if (!resumed) {
    if (row?.state !== 'dead') {
      item.over = true
      return giveBack(next, at)
    }
    item.generation = rules.has('counted-generation') ? row.generation + 1 : next.nextGeneration++
    next.row = { ...row, state: 'redriving', generation: item.generation, redrives: row.redrives + 1 }
    if (rules.has('delete-then-send')) next.row = null
  } else if (!rules.has('delete-then-send', 'send-then-delete')) {
    if (row?.state !== 'redriving' || row.generation !== item.generation) {
      item.over = true
      return giveBack(next, at)
    }
  }
  resetKey(next, rules, resumed)
  const { generation } = item
  while (next.copies.length <= generation) {
    next.copies.push(0)
    next.ran.push(false)
  }
  // Whether this redrive starts the handler, also where its number was given before.
  if (!resumed) next.ran[generation] = false
  const attempt = rules.route === 'pipeline' ? ({ at: 'got', generation, token: 0, copyIsGone: false } as const) : null
  Object.assign(worker, { at: 'sending', generation, attempt })
}

/** What versions without a generation do instead. */
function resetKey(next: State, rules: Rules, resumed: boolean): void {
  const failed = next.key.state === 'failed'
  if (rules.has('reset-then-send') && !resumed && failed) next.key.state = 'released'
  if (rules.has('reset-again-on-resume') && failed) next.key.state = 'released'
  if (rules.has('reset-whatever-the-state') && !resumed) next.key.state = 'released'
  if (rules.has('forget-the-key') && !resumed) next.key = { state: 'none', token: 0, generation: 0 }
}

/** Where the pipeline's own dead letters go elsewhere, nobody else says that it died again. */
function diedAgain(next: State, generation: number): void {
  const { row } = next
  if (row?.state === 'redriving' && row.generation === generation && row.settled < generation)
    next.row = { ...row, state: 'dead', settled: generation }
}

function giveBack(next: State, at: number): void {
  const { item: index, token } = of(next, at)
  const item = next.items[index]
  if (item?.token === token) item.token = 0
  rest(next, at)
}

function rest(next: State, at: number): void {
  next.workers[at] = { at: 'idle', token: 0, item: 0, generation: 0, attempt: null }
}

function of(state: State, at: number): Worker {
  const worker = state.workers[at]
  if (worker === undefined) throw new Error(`there is no worker ${at}`)
  return worker
}
