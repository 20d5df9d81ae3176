import { spawn, type ChildProcess } from 'node:child_process'
import { setTimeout as sleep } from 'node:timers/promises'

export interface Trouble {
  readonly kills: number
  readonly pauses: number
}

/** Processes that are killed and paused while they work, and replaced. */
export class Workers {
  readonly #start: () => ChildProcess
  readonly #children = new Map<ChildProcess, number>()
  readonly #most: Trouble
  readonly #pauseMs: number
  #nextMs = Date.now() + 2500
  kills = 0
  pauses = 0

  constructor(args: readonly string[], most: Trouble, pauseMs: number) {
    this.#most = most
    this.#pauseMs = pauseMs
    this.#start = () =>
      spawn(
        process.execPath,
        ['--disable-warning=ExperimentalWarning', '--disable-warning=TimeoutNegativeWarning', ...args],
        {
          stdio: ['ignore', 'inherit', 'inherit'],
        },
      )
  }

  /** Starts those that are missing. */
  fill(count: number): void {
    while (this.#children.size < count) {
      const child = this.#start()
      this.#children.set(child, Date.now())
      child.once('exit', () => this.#children.delete(child))
    }
  }

  /** Kills or pauses one that has worked for a while, if it is time. */
  trouble(): void {
    const left = this.kills < this.#most.kills || this.pauses < this.#most.pauses
    if (!left || Date.now() < this.#nextMs) return
    this.#nextMs = Date.now() + 300 + Math.random() * 1200
    const grown = [...this.#children].filter(([, born]) => Date.now() - born > 2000).map(([child]) => child)
    const child = grown[Math.floor(Math.random() * grown.length)]
    if (child === undefined) return
    const pauses = this.pauses < this.#most.pauses
    if (pauses && (Math.random() < 0.3 || this.kills >= this.#most.kills)) {
      this.pauses++
      child.kill('SIGSTOP')
      setTimeout(() => child.kill('SIGCONT'), this.#pauseMs)
    } else if (this.kills < this.#most.kills) {
      this.kills++
      child.kill('SIGKILL')
    }
  }

  async stop(): Promise<void> {
    for (const child of this.#children.keys()) {
      child.kill('SIGCONT')
      child.kill('SIGTERM')
    }
    const endBy = Date.now() + 15_000
    while (this.#children.size > 0 && Date.now() < endBy) await sleep(100)
    for (const child of this.#children.keys()) child.kill('SIGKILL')
  }
}
