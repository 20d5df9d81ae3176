import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { startMember, type Member } from '../kafka/member.ts'
import type { VersionSettings } from './settings.ts'

const program = join(import.meta.dirname, 'worker.ts')

/** The members of one version of the service. */
export class Version {
  readonly #settings: Omit<VersionSettings, 'until'>
  readonly #problem: (pid: number, line: string) => void
  #until: VersionSettings['until'] = 'none'
  #members: Member[] = []

  constructor(settings: Omit<VersionSettings, 'until'>, problem: (pid: number, line: string) => void) {
    this.#settings = settings
    this.#problem = problem
  }

  start(until: VersionSettings['until'], size: number): void {
    this.#until = until
    for (let n = 0; n < size; n++) this.#begin()
  }

  #begin(): void {
    const { name } = this.#settings
    const member = startMember(
      { ...this.#settings, until: this.#until },
      (line) => this.#problem(member.pid, `${name} ${line}`),
      program,
    )
    this.#members.push(member)
  }

  get #alive(): readonly Member[] {
    return this.#members.filter(({ alive }) => alive)
  }

  /** `kill -9` of one member, in the middle of its work. Another one takes its place. */
  async strike(random: () => number): Promise<boolean> {
    const ready = this.#alive.filter(({ isReady }) => isReady)
    const member = ready[Math.floor(random() * ready.length)]
    if (member === undefined) return false
    member.signal('SIGKILL')
    await member.exited
    this.#begin()
    return true
  }

  /** In good order: what runs ends, and is committed. */
  async stop(): Promise<void> {
    const alive = this.#alive
    for (const member of alive) member.signal('SIGTERM')
    await Promise.race([Promise.all(alive.map(({ exited }) => exited)), sleep(30_000)])
    for (const member of this.#alive) member.signal('SIGKILL')
  }
}
