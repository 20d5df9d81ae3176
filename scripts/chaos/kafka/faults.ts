import { setTimeout as sleep } from 'node:timers/promises'
import type { Member } from './member.ts'

/** The processes of the run, and what is done to them. */
export interface Crew {
  readonly members: Member[]
  start(): Member
}

export interface FaultCounts {
  kills: number
  freezes: number
  pauses: number
  leaves: number
  brokerRestarts: number
  /** Members that ended by themselves, such as in a start without a broker. Others took their places. */
  endedAlone: number
}

export function noFaults(): FaultCounts {
  return { kills: 0, freezes: 0, pauses: 0, leaves: 0, brokerRestarts: 0, endedAlone: 0 }
}

/** Whether each kind of fault that a run counts on has happened: a short one may else end before its last. */
export function hadEach({ kills, freezes, pauses, leaves, brokerRestarts }: FaultCounts, ordered: boolean): boolean {
  return ordered ? Math.min(kills, pauses, leaves, brokerRestarts) > 0 : Math.min(kills, freezes) > 0
}

export interface FaultOptions {
  readonly crew: Crew
  /** Counted up as they happen. */
  readonly counts: FaultCounts
  readonly size: number
  readonly random: () => number
  readonly kinds: readonly Fault[]
  readonly pauseMs: number
  readonly restartBroker: () => Promise<void>
  readonly over: AbortSignal
}

export type Fault = 'kill' | 'leave' | 'pause' | 'freeze' | 'restart'

export function kindsOf({ ordered, graceful }: { readonly ordered: boolean; readonly graceful: boolean }): Fault[] {
  if (graceful) return ['leave']
  return ordered ? ['kill', 'leave', 'pause', 'freeze', 'restart'] : ['kill', 'kill', 'freeze']
}

/** Every few seconds something happens to one process or to the broker, as the seed decides, until it is over. */
export async function faults({
  crew,
  counts,
  size,
  random,
  kinds,
  pauseMs,
  restartBroker,
  over,
}: FaultOptions): Promise<void> {
  const pick = (): Member | undefined => {
    const alive = crew.members.filter((member) => member.alive)
    return alive[Math.floor(random() * alive.length)]
  }
  const wait = (ms: number): Promise<void> => sleep(ms, undefined, { signal: over }).catch(() => {})

  const isOver = (): boolean => over.aborted
  const missing = (): number => size - crew.members.filter((member) => member.alive).length

  async function refill(): Promise<void> {
    await wait(random() * 1000)
    while (missing() > 0) crew.start()
  }

  async function kill(member: Member): Promise<void> {
    counts.kills++
    member.signal('SIGKILL')
    await member.exited
    await refill()
  }

  async function leave(member: Member): Promise<void> {
    counts.leaves++
    member.signal('SIGTERM')
    await Promise.race([member.exited, wait(20_000)])
    await refill()
  }

  /** Past the session: the group goes on without it, and it comes back as a zombie. */
  async function pause(member: Member): Promise<void> {
    counts.pauses++
    member.signal('SIGSTOP')
    await wait(pauseMs)
    member.signal('SIGCONT')
  }

  const doing: Readonly<Record<Fault, (member: Member) => Promise<void>>> = {
    kill,
    leave,
    pause,
    async freeze(member) {
      // Before a process listens, the signal ends it.
      while (!member.isReady && member.alive && !over.aborted) await wait(100)
      if (!member.isReady) return
      counts.freezes++
      member.signal('SIGUSR2')
    },
    async restart() {
      counts.brokerRestarts++
      await restartBroker()
      // A member that started without a broker has ended with one clear error.
      await refill()
    },
  }
  let mix: Fault[] = []
  while (!isOver()) {
    await wait(1500 + random() * 3000)
    // With too few members the faults would hit nobody, and what they left would be counted as lost.
    if (!isOver() && missing() > 0) {
      counts.endedAlone += missing()
      await refill()
    }
    const member = pick()
    if (member === undefined) continue
    // Every so many have each kind among them.
    if (mix.length === 0) mix = [...kinds]
    const fault = mix.splice(Math.floor(random() * mix.length), 1)[0]
    if (fault !== undefined) await doing[fault](member)
  }
}
