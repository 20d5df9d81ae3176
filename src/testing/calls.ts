import type { Fault } from './world/faults.ts'
import { nameOf, simulatedProcess } from './world/process.ts'
import type { Reality } from './world/reality.ts'
import type { Deviation } from './explorer/schedule.ts'
import { scopes, type Scope } from './world/scope.ts'
import {
  callFaults,
  ConnectionLostError,
  onlyOnSending,
  type OpOptions,
  type Simulation,
  type Task,
} from './world/task.ts'

/** What a call asks of the simulation that it is part of. */
export interface CallsOptions {
  readonly simulation: () => Simulation
  readonly unique: (label: string) => string
  readonly at: (ms: number, task: Omit<Task, 'passedOver'>) => void
  /** Code that is busy now. */
  readonly active: Set<Scope>
  /** Everybody waits for a call that really goes out. */
  readonly standStill: Reality['standStill']
}

/** One call to a server is three steps: the request travels, is carried out in one go, and the answer travels. */
export function calls({ simulation, unique, at, active, standStill }: CallsOptions): Simulation['op'] {
  const servers = simulatedProcess('server')

  /** What a server does takes virtual time too, and belongs to no process that can crash. */
  function serverScope(messageId: string): Scope {
    return { simulation: simulation(), process: servers, messageId, pending: 0, watched: true, stuck: false }
  }

  return function op<T>(
    process: Parameters<Simulation['op']>[0],
    name: string,
    apply: () => T | Promise<T>,
    { faults = callFaults, quiet = false, refuses, strike, patienceMs, note = () => '' }: OpOptions = {},
  ): Promise<T> {
    const sim = simulation()
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
        else sim.ready(task)
      }

      function answered(value: T, deviation: Deviation | undefined): void {
        const isLost = deviation?.do === 'lose-reply'
        const shown = typeof value === 'object' || value === undefined ? '' : ` → ${String(value)}`
        if (!quiet) sim.say(who, name + shown + note() + (isLost ? ', its reply is lost' : ''))
        reply(isLost ? lost : () => resolve(value), deviation?.do === 'confirms-late' ? deviation.ms : 0)
      }

      function failed(error: unknown): void {
        if (!quiet) sim.say(who, `${name} → ${error instanceof Error ? error.message : String(error)}`)
        reply(() => reject(error))
      }

      /** The request has arrived. Says whether code of a process may have been woken. */
      function carryOut(deviation: Deviation | undefined): boolean {
        const refusal = deviation?.do === 'fail' ? 'fails before it is carried out' : refuses?.()
        if (refusal !== undefined) {
          sim.say(who, `${name} ${refusal}`)
          reply(lost)
          return false
        }
        const error = deviation === undefined ? undefined : strike?.(deviation)
        if (error !== undefined) {
          failed(error)
          return false
        }
        let value: T | Promise<T>
        const server = serverScope(scope?.messageId ?? '')
        try {
          value = patienceMs !== undefined ? apply() : scopes.run(server, apply)
        } catch (thrown) {
          failed(thrown)
          return false
        }
        if (!(value instanceof Promise)) {
          answered(value, deviation)
          return false
        }
        if (patienceMs !== undefined) standStill(value, patienceMs, () => sim.say(who, `${name} blocks`))
        else active.add(server)
        void value
          .then(
            (done) => answered(done, deviation),
            (thrown: unknown) => failed(thrown),
          )
          .finally(() => active.delete(server))
        return true
      }

      sim.ready({ label, process, phase: 'send', faults, run: carryOut })
    })
  }
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
