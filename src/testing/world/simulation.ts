import { calls } from '../calls.ts'
import type { Fault } from './faults.ts'
import { journal } from './journal.ts'
import { nameOf, type SimulatedProcess } from './process.ts'
import { reality } from './reality.ts'
import { dice, type Deviation } from '../explorer/schedule.ts'
import { scopes, type Scope } from './scope.ts'
import { timerFaults, type Chooser, type Simulation, type Task, type TimerOptions } from './task.ts'
import { timerList, type Timer } from './timers.ts'

export interface SimulationOptions {
  readonly chooser: Chooser
  /** A run that takes more steps than this is stuck in a loop. @defaultValue 4_000 */
  readonly maxSteps?: number
  /** Keeps a line for everything that happens. @defaultValue `false` */
  readonly record?: boolean
  /** Faults that strike more than one task. Says whether the task that it struck is out of the queue now. */
  readonly strike?: (fault: Fault, task: Task, deviation: Deviation) => boolean
  readonly onCommit?: Simulation['committed']
}

/** A world with a clock and an order of its own: the same choices give the same run, on every machine. */
export function simulation({
  chooser,
  maxSteps = 4_000,
  record = false,
  strike = () => false,
  onCommit = () => {},
}: SimulationOptions): Simulation {
  let nowMs = 0
  let steps = 0
  let choices = 0
  let finish: (() => void) | undefined
  let queue: Task[] = []
  const deviations: Deviation[] = []
  const names = new Map<string, number>()
  const sleepers = new Map<SimulatedProcess, number>()
  const active = new Set<Scope>()
  const left = new Set<string>()
  const timers = timerList()
  const book = journal({ record, nowMs: () => nowMs })
  const { say, violate } = book
  const world = reality({ goOn: pump, goOnWhenQuiet: pumpWhenQuiet, onLeft: (messageId) => left.add(messageId) })
  const op = calls({ simulation: () => self, unique, at, active, standStill: world.standStill })

  function unique(label: string): string {
    const count = (names.get(label) ?? 0) + 1
    names.set(label, count)
    return count === 1 ? label : `${label}#${count}`
  }

  function ready(task: Omit<Task, 'passedOver'>): void {
    queue.push({ ...task, passedOver: 0 })
  }

  function at(ms: number, task: Omit<Task, 'passedOver'>, idle = false): Timer {
    return timers.add(nowMs + Math.max(0, ms), { ...task, passedOver: 0 }, idle)
  }

  function later(ms: number, label: string, act: () => void): void {
    const run = (): boolean => {
      act()
      return true
    }
    at(ms, { label: unique(label), process: null, phase: 'event', faults: [], run })
  }

  function after(
    process: SimulatedProcess,
    ms: number,
    callback: () => void,
    { label = 'timer', idle = false }: TimerOptions = {},
  ): () => void {
    const scope = scopes.getStore()
    const { incarnation } = process
    const about = scope === undefined || scope.messageId === '' ? '' : ` ${scope.messageId}`
    if (scope !== undefined) scope.pending++
    let over = false
    const end = (): void => {
      if (!over && scope !== undefined) scope.pending--
      over = true
    }
    const run = (): boolean => {
      if (over || process.incarnation !== incarnation) return false
      end()
      try {
        if (scope === undefined) callback()
        else scopes.run(scope, callback)
      } catch (error) {
        violate('no-crash', `a timer of ${nameOf(process)} threw ${String(error)}`)
      }
      return true
    }
    // As in Node, a timer is never due in the instant that sets it.
    const timer = at(
      Math.max(ms, 1),
      { label: unique(`${nameOf(process)}.${label}${about}`), process, phase: 'timer', faults: timerFaults, run },
      idle,
    )
    return () => {
      timer.cancelled = true
      end()
    }
  }

  async function within<T>(
    process: SimulatedProcess,
    messageId: string,
    work: () => Promise<T>,
    watched = false,
  ): Promise<T> {
    const parent = scopes.getStore()
    const scope: Scope = { simulation: self, process, messageId, pending: 0, watched, stuck: false }
    active.add(scope)
    if (parent !== undefined) parent.pending++
    try {
      return await scopes.run(scope, work)
    } finally {
      active.delete(scope)
      if (parent !== undefined) parent.pending--
    }
  }

  function forget(process: SimulatedProcess, keepsRequests: boolean): void {
    process.state = 'over'
    for (const tearDown of process.resources) tearDown()
    process.resources.clear()
    sleepers.delete(process)
    queue = queue
      .filter((task) => task.process !== process || (keepsRequests && task.phase === 'send'))
      .map((task) => (task.process === process ? { ...task, process: null, faults: [] } : task))
    timers.forget(process)
    for (const scope of active) if (scope.process === process) active.delete(scope)
  }

  function crash(process: SimulatedProcess, keepsRequests = false): void {
    say(nameOf(process), keepsRequests ? 'crashes; its requests are on their way' : 'crashes')
    forget(process, keepsRequests)
    process.onCrash()
  }

  function pause(process: SimulatedProcess, ms: number, stepsMore: number): void {
    say(nameOf(process), `stands still for ${ms / 1000} s`)
    process.state = 'paused'
    process.wasPaused = true
    process.onPause()
    later(ms, `${nameOf(process)} may wake`, () => {
      if (process.state === 'paused') sleepers.set(process, steps + stepsMore)
    })
  }

  function wake(atOnce: boolean): boolean {
    let woke = false
    for (const [process, step] of sleepers)
      if (atOnce || step <= steps) {
        sleepers.delete(process)
        process.state = 'up'
        say(nameOf(process), 'goes on')
        woke = true
      }
    return woke
  }

  /** A nextTick queued by a microtask runs when no microtask is left: that is exact, and never leaves for the event loop. */
  function pumpWhenQuiet(): void {
    queueMicrotask(() => process.nextTick(pump))
  }

  function end(): void {
    const resolve = finish
    finish = undefined
    book.close()
    queue = []
    timers.clear()
    resolve?.()
  }

  function pump(): void {
    while (finish !== undefined) {
      if (world.holds) return
      if (book.violation === undefined && steps >= maxSteps) violate('drained', `still busy after ${maxSteps} steps`)
      if (book.violation !== undefined) return end()
      if (sleepers.size > 0) wake(false)
      queue.push(...timers.takeDue(nowMs))
      // The queue itself nearly always: somebody stands still only now and then.
      const runnable = queue.every(canRun) ? queue : queue.filter(canRun)
      const [first] = runnable
      if (first === undefined) {
        if (wake(true)) continue
        if (world.waits(active, !timers.isEmpty)) return
        const timer = timers.next()
        if (timer === undefined || (active.size === 0 && !timers.keepAlive())) return end()
        nowMs = timer.dueMs
        continue
      }
      world.moved()
      if (step(runnable, first)) return pumpWhenQuiet()
    }
  }

  function step(runnable: readonly Task[], first: Task): boolean {
    const task = chooser.pick(runnable)
    if (task !== first) {
      deviations.push({ at: `${first.label}~${first.passedOver}`, do: 'run', then: task.label })
      for (const older of runnable) {
        if (older === task) break
        older.passedOver++
      }
    }
    const deviation = task.faults.length > 0 ? chooser.fault(task, choices) : undefined
    choices++
    if (deviation !== undefined) {
      deviations.push(deviation)
      task.passedOver++
      if (struck(task, deviation)) return true
    }
    queue.splice(queue.indexOf(task), 1)
    steps++
    return task.run(deviation)
  }

  /** Whether the choice has to be made anew. */
  function struck(task: Task, deviation: Deviation): boolean {
    const { process } = task
    const { do: what, ms = 0, steps: stepsMore = 0 } = deviation
    if (what === 'hold') {
      queue.splice(queue.indexOf(task), 1)
      queue.push(task)
      return true
    }
    if (what === 'run') return false
    if (process !== null && (what === 'crash' || what === 'crash-after-send')) {
      crash(process, what === 'crash-after-send')
      return true
    }
    if (process !== null && what === 'pause') {
      pause(process, ms, stepsMore)
      return true
    }
    if (what === 'slow' || what === 'outlive') {
      const tookMs = what === 'slow' ? ms : 35_000
      say(process === null ? '' : nameOf(process), `${task.label} takes ${tookMs / 1000} s`)
      queue.splice(queue.indexOf(task), 1)
      at(tookMs, { ...task, faults: [] })
      if (what === 'outlive') strike('rebalance', task, deviation)
      return true
    }
    return strike(what, task, deviation)
  }

  const self: Simulation = {
    get nowMs() {
      return nowMs
    },
    get steps() {
      return steps
    },
    get choices() {
      return choices
    },
    get hash() {
      return book.hash
    },
    get violation() {
      return book.violation
    },
    lines: book.lines,
    deviations,
    left,
    random: dice(0x5eed),
    committed: onCommit,
    say,
    violate,
    ready,
    later,
    after,
    op,
    within,
    crash,
    retire: (process) => forget(process, false),
    pause,
    run() {
      return new Promise((resolve) => {
        finish = resolve
        book.open()
        pumpWhenQuiet()
      })
    },
  }
  return self
}

function canRun({ process }: Task): boolean {
  return process === null || process.state === 'up'
}
