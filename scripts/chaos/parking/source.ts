import { setTimeout as sleep } from 'node:timers/promises'
import type { Broker, Sent } from './broker.ts'
import { dice } from './crew.ts'
import type { Settings } from './settings.ts'

/** `mended`: it dies, and once an operator has sent it again it is handled. */
export type Fate = 'ok' | 'flaky' | 'dead' | 'mended'

/** What is sent, and what fate each message has. */
export class Source {
  readonly fates: Fate[] = []
  readonly #settings: Settings
  readonly #random: () => number

  constructor(settings: Settings) {
    this.#settings = settings
    this.#random = dice(settings.seed)
  }

  async sendTo(broker: Broker): Promise<void> {
    const { messages, spreadMs } = this.#settings
    const tickMs = 200
    const step = spreadMs === 0 ? 1_000 : Math.max(1, Math.round((messages / spreadMs) * tickMs))
    while (this.fates.length < messages) {
      const nowMs = Date.now()
      const many = Math.min(step, messages - this.fates.length)
      await broker.send(Array.from({ length: many }, () => this.#next(nowMs)))
      if (spreadMs > 0) await sleep(Math.max(0, tickMs - (Date.now() - nowMs)))
    }
  }

  idsOf(fate: Fate): readonly string[] {
    return this.fates.flatMap((each, n) => (each === fate ? [`m${n}`] : []))
  }

  #next(nowMs: number): Sent {
    const { keys, bad, dead, flaky, failMs, whenDead } = this.#settings
    const n = this.fates.length
    const key = Math.floor(this.#random() * keys)
    const chance = this.#random()
    const mayFail = key < keys * bad
    const dies = whenDead === 'block-key' && n % 2 === 1 ? 'mended' : 'dead'
    const fate = mayFail && chance < dead ? dies : mayFail && chance < dead + flaky ? 'flaky' : 'ok'
    this.fates.push(fate)
    return { id: `m${n}`, key: `k${key}`, body: `${n},${fate},${nowMs + failMs}` }
  }
}
