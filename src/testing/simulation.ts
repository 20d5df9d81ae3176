import type { Fault } from './faults.ts'
import { nameOf, simulatedProcess, type SimulatedProcess } from './process.ts'
import { dice, type Deviation } from './schedule.ts'
import { scopes, type Scope } from './scope.ts'
import {
  callFaults,
  ConnectionLostError,
  onlyOnSending,
  timerFaults,
  type Chooser,
  type Line,
  type OpOptions,
  type Simulation,
  type Task,
  type TimerOptions,
  type Violation,
} from './task.ts'

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

interface Timer {
  readonly dueMs: number
  readonly idle: boolean
  readonly task: Task
  cancelled: boolean
}

/** How long a call that really goes out may hold everything up: longer means that it waits for somebody's lock. */
const patienceMs = 40
const longestStuckTries = 40

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
  let hash = 2_166_136_261
  let violation: Violation | undefined
  let finish: (() => void) | undefined
  let queue: Task[] = []
  let timers: Timer[] = []
  let tries = 0
  let realCalls = 0
  let parked = false
  const lines: Line[] = []
  const deviations: Deviation[] = []
  const names = new Map<string, number>()
  const sleepers = new Map<SimulatedProcess, number>()
  const active = new Set<Scope>()
  const left = new Set<string>()
  const servers = simulatedProcess('server')

  function say(who: string, text: string): void {
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 16_777_619) >>> 0
    if (record) lines.push({ atMs: nowMs, who, text })
  }

  function violate(invariant: string, text: string): void {
    if (violation !== undefined) return
    violation = { invariant, text }
    // While it runs, what broke it is told first.
    if (finish === undefined) sayViolation()
  }

  function sayViolation(): void {
    if (violation !== undefined) say('', `✗ ${violation.invariant}: ${violation.text}`)
  }

  function unique(label: string): string {
    const count = (names.get(label) ?? 0) + 1
    names.set(label, count)
    return count === 1 ? label : `${label}#${count}`
  }

  function ready(task: Omit<Task, 'passedOver'>): void {
    queue.push({ ...task, passedOver: 0 })
  }

  function at(ms: number, task: Omit<Task, 'passedOver'>, idle = false): Timer {
    const timer = { dueMs: nowMs + Math.max(0, ms), idle, task: { ...task, passedOver: 0 }, cancelled: false }
    let place = timers.length
    while (place > 0 && (timers[place - 1]?.dueMs ?? 0) > timer.dueMs) place--
    timers.splice(place, 0, timer)
    return timer
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

  function op<T>(
    process: SimulatedProcess,
    name: string,
    apply: () => T | Promise<T>,
    { faults = callFaults, quiet = false, refuses, strike: strikeCall, real = false }: OpOptions = {},
  ): Promise<T> {
    const scope = scopes.getStore()
    const { incarnation } = process
    const who = nameOf(process)
    const label = unique(`${who}.${name}`)
    if (scope !== undefined) scope.pending++

    return new Promise<T>((resolve, reject) => {
      const lost = (): void => reject(new ConnectionLostError(`${name}: the connection was lost`))

      function reply(settle: () => void, ms = 0): void {
        const task: Omit<Task, 'passedOver'> = {
          label: `${label}⏎`,
          process,
          phase: 'reply',
          faults: faultsOfReply(faults),
          run() {
            // The one who asked is gone: nobody is there to go on.
            if (process.incarnation !== incarnation || process.state === 'over') return false
            if (scope !== undefined) scope.pending--
            settle()
            return true
          },
        }
        if (ms > 0) at(ms, task)
        else ready(task)
      }

      function answered(value: T, deviation: Deviation | undefined): void {
        const isLost = deviation?.do === 'lose-reply'
        const shown = typeof value === 'object' || value === undefined ? '' : ` → ${String(value)}`
        if (!quiet) say(who, name + shown + (isLost ? ', its reply is lost' : ''))
        reply(isLost ? lost : () => resolve(value), deviation?.do === 'confirms-late' ? deviation.ms : 0)
      }

      function failed(error: unknown): void {
        if (!quiet) say(who, `${name} → ${error instanceof Error ? error.message : String(error)}`)
        reply(() => reject(error))
      }

      ready({
        label,
        process,
        phase: 'send',
        faults,
        run(deviation) {
          const refusal = deviation?.do === 'fail' ? 'fails before it is carried out' : refuses?.()
          if (refusal !== undefined) {
            say(who, `${name} ${refusal}`)
            reply(lost)
            return false
          }
          const error = deviation === undefined ? undefined : strikeCall?.(deviation)
          if (error !== undefined) {
            failed(error)
            return false
          }
          let value: T | Promise<T>
          const server = serverScope(scope?.messageId ?? '')
          try {
            value = real ? apply() : scopes.run(server, apply)
          } catch (thrown) {
            failed(thrown)
            return false
          }
          if (!(value instanceof Promise)) {
            answered(value, deviation)
            return false
          }
          if (real) standStill(value, name, who)
          else active.add(server)
          void value
            .then(
              (done) => answered(done, deviation),
              (thrown: unknown) => failed(thrown),
            )
            .finally(() => active.delete(server))
          return true
        },
      })
    })
  }

  /** What a server does takes virtual time too, and belongs to no process that can crash. */
  function serverScope(messageId: string): Scope {
    return { simulation: self, process: servers, messageId, pending: 0, watched: true, stuck: false }
  }

  /** Until the call is over, or for as long as our patience: then it waits for a lock, and the others go on. */
  function standStill(call: Promise<unknown>, name: string, who: string): void {
    realCalls++
    let waiting = true
    const goOn = (): void => {
      if (waiting || parked) {
        waiting = false
        parked = false
        pumpWhenQuiet()
      }
    }
    held = true
    const patience = setTimeout(() => {
      say(who, `${name} blocks`)
      held = false
      goOn()
    }, patienceMs)
    const over = (): void => {
      clearTimeout(patience)
      realCalls--
      if (waiting) held = false
      // After the answer was queued.
      queueMicrotask(() => queueMicrotask(goOn))
    }
    call.then(over, over)
  }
  let held = false

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
    timers = timers.filter(({ task }) => task.process !== process)
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
    sayViolation()
    queue = []
    timers = []
    resolve?.()
  }

  function pump(): void {
    while (finish !== undefined) {
      if (held) return
      if (violation === undefined && steps >= maxSteps) violate('drained', `still busy after ${maxSteps} steps`)
      if (violation !== undefined) return end()
      if (sleepers.size > 0) wake(false)
      queueWhatIsDue()
      // The queue itself nearly always: somebody stands still only now and then.
      const runnable = queue.every(canRun) ? queue : queue.filter(canRun)
      const [first] = runnable
      if (first === undefined) {
        if (wake(true)) continue
        if (waitsForReality()) return
        const timer = timers.find(({ cancelled }) => !cancelled)
        if (timer === undefined || !timersKeepAlive()) return end()
        nowMs = timer.dueMs
        continue
      }
      tries = 0
      if (step(runnable, first)) return pumpWhenQuiet()
    }
  }

  function queueWhatIsDue(): void {
    for (let [timer] = timers; timer !== undefined && (timer.cancelled || timer.dueMs <= nowMs); [timer] = timers) {
      timers.shift()
      if (!timer.cancelled) queue.push(timer.task)
    }
  }

  function timersKeepAlive(): boolean {
    return active.size > 0 || timers.some(({ idle, cancelled }) => !idle && !cancelled)
  }

  /** Something that waits for none of our answers waits for the real world: it gets real time before virtual time moves. */
  function waitsForReality(): boolean {
    if (realCalls > 0) {
      if (tries++ < 2) {
        setTimeout(pump, 5)
        return true
      }
      if (timers.length === 0) {
        parked = true
        return true
      }
    }
    let waits = false
    for (const scope of active) {
      if (!scope.watched || scope.pending > 0 || scope.stuck || scope.process.state !== 'up') continue
      left.add(scope.messageId)
      if (tries >= longestStuckTries) scope.stuck = true
      else waits = true
    }
    if (!waits) return false
    if (tries++ < 5) setImmediate(pump)
    else setTimeout(pump, 1)
    return true
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
      return hash.toString(16).padStart(8, '0')
    },
    get violation() {
      return violation
    },
    lines,
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
        pumpWhenQuiet()
      })
    },
  }
  return self
}

function canRun({ process }: Task): boolean {
  return process === null || process.state === 'up'
}

const ofReplies = new WeakMap<readonly Fault[], readonly Fault[]>()

/** There are a few lists, and thousands of calls. */
function faultsOfReply(faults: readonly Fault[]): readonly Fault[] {
  const known = ofReplies.get(faults)
  if (known !== undefined) return known
  const found = faults.filter((fault) => !onlyOnSending.has(fault))
  ofReplies.set(faults, found)
  return found
}
