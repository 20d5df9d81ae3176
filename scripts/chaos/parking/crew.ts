import { spawn, type ChildProcess } from 'node:child_process'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { MemberSettings, Settings } from './settings.ts'

interface Member {
  readonly role: MemberSettings['role']
  readonly child: ChildProcess
  counts: Readonly<Record<string, number>>
  stopped: boolean
}

/** Random numbers that a seed repeats. */
export function dice(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state)
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** The processes of a run: they are started, killed, paused and told to leave. */
export class Crew {
  readonly #members: Member[] = []
  readonly #settings: Omit<MemberSettings, 'role'>
  readonly #random: () => number
  readonly injected: Record<string, number> = {}
  #over = false

  constructor(settings: Omit<MemberSettings, 'role'>) {
    this.#settings = settings
    this.#random = dice(settings.seed)
  }

  start(role: MemberSettings['role']): void {
    const flags = ['--disable-warning=TimeoutNegativeWarning', '--disable-warning=ExperimentalWarning']
    const child = spawn(
      process.execPath,
      [...flags, join(import.meta.dirname, 'member.ts'), JSON.stringify({ ...this.#settings, role })],
      { stdio: ['ignore', 'inherit', 'inherit', 'ipc'] },
    )
    const member: Member = { role, child, counts: {}, stopped: false }
    child.on('message', (counts) => (member.counts = counts as Member['counts']))
    child.on('error', () => {})
    this.#members.push(member)
  }

  startAll({ consumers, workers, park }: Settings): void {
    for (let n = 0; n < consumers; n++) this.start('consumer')
    for (let n = 0; park && n < workers; n++) this.start('worker')
  }

  /** From then on until `end()`: SIGKILL, SIGSTOP past every lease, and members that leave and come. */
  async trouble(hasBegun: () => boolean): Promise<void> {
    while (!hasBegun() && !this.#over) await sleep(100)
    while (!this.#over) {
      const up = this.#members.filter(({ child, stopped }) => isUp(child) && !stopped)
      const member = up[Math.floor(this.#random() * up.length)]
      if (member !== undefined) this.#harm(member)
      await sleep(2_000 + this.#random() * 2_500)
    }
  }

  #harm(member: Member): void {
    const how =
      (['SIGKILL', 'SIGSTOP', 'leave', 'SIGKILL', 'SIGSTOP'] as const)[Math.floor(this.#random() * 5)] ?? 'leave'
    const name = `${how} of a ${member.role}`
    this.injected[name] = (this.injected[name] ?? 0) + 1
    if (how === 'SIGSTOP') {
      member.stopped = true
      member.child.kill('SIGSTOP')
      setTimeout(
        () => {
          member.child.kill('SIGCONT')
          member.stopped = false
        },
        4_000 + this.#random() * 5_000,
      )
      return
    }
    member.child.kill(how === 'leave' ? 'SIGTERM' : 'SIGKILL')
    setTimeout(() => !this.#over && this.start(member.role), 300 + this.#random() * 1_500)
  }

  calmDown(): void {
    this.#over = true
  }

  async end(): Promise<void> {
    this.#over = true
    for (const { child } of this.#members)
      if (isUp(child)) for (const signal of ['SIGCONT', 'SIGTERM'] as const) child.kill(signal)
    const untilMs = Date.now() + 15_000
    while (Date.now() < untilMs && this.#members.some(({ child }) => isUp(child))) await sleep(100)
    for (const { child } of this.#members) if (isUp(child)) child.kill('SIGKILL')
  }

  /** What the members saw, by role. */
  counts(): Readonly<Record<string, number>> {
    const sums: Record<string, number> = {}
    for (const { role, counts } of this.#members)
      for (const [what, count] of Object.entries(counts))
        sums[`${role}: ${what}`] = (sums[`${role}: ${what}`] ?? 0) + count
    return sums
  }
}

function isUp({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode === null && signalCode === null
}
