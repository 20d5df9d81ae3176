import { setTimeout as sleep } from 'node:timers/promises'
import type { Delivery } from '../../src/core/delivery.ts'
import { RetryLater } from '../../src/core/errors.ts'
import { pipeline, type Pipeline } from '../../src/core/pipeline.ts'
import { outgoing } from '../../src/core/publisher.ts'
import type { Member, SoakBroker } from './brokers.ts'
import { Ledger } from './ledger.ts'
import { Memory } from './memory.ts'

export interface SoakOptions {
  readonly broker: SoakBroker
  readonly name: string
  readonly minutes: number
  /** Messages a second. */
  readonly rate: number
  readonly keys: number
  /** The longest hold. */
  readonly holdMs: number
  readonly planted: string | undefined
}

export const breaks: Readonly<Record<string, string>> = {
  lost: 'now and then a message is acked and not handled',
  stuck: 'one handler never ends',
  leak: 'what was handled is kept',
}

const fewest = 2
const most = 4
const holdPart = 0.002
const graceMs = 60_000
const samples = 45

interface Running extends Member {
  readonly running: Promise<void>
  readonly stop: AbortController
  readySinceMs: number
}

/** Members join and leave for minutes, and some messages are held for long. */
export class Soak {
  readonly violations: string[] = []
  readonly ledger: Ledger = new Ledger()
  readonly memory: Memory = new Memory()
  readonly counts: { joins: number; leaves: number; waits: number; longHandlers: number } = {
    joins: 0,
    leaves: 0,
    waits: 0,
    longHandlers: 0,
  }
  readonly #options: SoakOptions
  readonly #members = new Set<Running>()
  readonly #over = new AbortController()
  readonly #kept: unknown[] = []

  constructor(options: SoakOptions) {
    this.#options = options
  }

  async run(signal: AbortSignal): Promise<void> {
    const { minutes, broker } = this.#options
    for (let count = 0; count < fewest; count++) this.#join()
    signal.addEventListener('abort', () => this.#over.abort())
    const looking = this.#look()
    const work = [this.#publish(), this.#comeAndGo()]
    await this.#pause(minutes * 60_000)
    this.#over.abort()
    await Promise.all([...work, looking])
    await this.#drain()
    await Promise.all([...this.#members].map((member) => this.#leave(member)))
    broker.close()
    const { jumps } = this.ledger.figures()
    if (jumps > 0) this.violations.push(`${jumps} times a message was handled before the one in front of it`)
    const { isSteady, text } = this.memory.verdict()
    if (!isSteady) this.violations.push(`memory grew: ${text}`)
  }

  #pause(ms: number): Promise<void> {
    return sleep(ms, undefined, { signal: this.#over.signal }).catch(() => {})
  }

  get #isOver(): boolean {
    return this.#over.signal.aborted
  }

  #join(): void {
    const stop = new AbortController()
    const { consumer, close } = this.#options.broker.member(this.#pipeline())
    const running = consumer.run(stop.signal)
    running.catch((error: unknown) => this.violations.push(`a member ended: ${String(error)}`))
    this.#members.add({ consumer, close, running, stop, readySinceMs: performance.now() })
  }

  async #leave(member: Running): Promise<void> {
    this.#members.delete(member)
    member.stop.abort(new Error('it leaves'))
    await member.running.catch(() => {})
    member.close()
  }

  async #comeAndGo(): Promise<void> {
    const everyMs = Math.min(10_000, (this.#options.minutes * 60_000) / 10)
    while (!this.#isOver) {
      await this.#pause(everyMs * (0.5 + Math.random()))
      const [first] = this.#members
      const leaves = this.#members.size >= most || (this.#members.size > fewest && Math.random() < 0.5)
      if (leaves && first !== undefined) {
        this.counts.leaves++
        await this.#leave(first)
      } else {
        this.counts.joins++
        this.#join()
      }
    }
  }

  async #publish(): Promise<void> {
    const { broker, name, rate, keys } = this.#options
    const tickMs = 100
    while (!this.#isOver) {
      const dueMs = performance.now() + tickMs
      const messages = Array.from({ length: Math.max(1, Math.round((rate * tickMs) / 1000)) }, () => {
        const key = `k${Math.floor(Math.random() * keys)}`
        return outgoing({ destination: name, key, id: `${key}.${this.ledger.next(key)}`, body: Buffer.alloc(1000) })
      })
      // In one process nobody else sends these ids: what is sent again is the same.
      await broker.publisher.publish(messages).catch((error: unknown) => {
        this.violations.push(`not published: ${String(error)}`)
        this.#over.abort()
      })
      await this.#pause(Math.max(0, dueMs - performance.now()))
    }
  }

  #pipeline(): Pipeline {
    const { name } = this.#options
    return pipeline(name).handle((delivery) => this.#handle(delivery))
  }

  async #handle({ message, attempt, signal }: Delivery): Promise<void> {
    const { holdMs, planted } = this.#options
    if (!this.#isOver && attempt === 1 && Math.random() < holdPart) {
      const ms = holdMs * (0.5 + Math.random() / 2)
      if (Math.random() < 0.5) {
        this.counts.waits++
        throw new RetryLater(ms)
      }
      this.counts.longHandlers++
      await sleep(ms, undefined, { signal })
    }
    if (planted === 'stuck' && this.ledger.figures().handled === 500) await new Promise(() => {})
    if (planted === 'leak') this.#kept.push(Buffer.alloc(20_000))
    const [key = '', number] = message.id.split('.')
    if (planted === 'lost' && Math.random() < 0.01) return
    this.ledger.handled(key, Number(number))
  }

  /** Until it is over: what stands still ends the run. */
  async #look(): Promise<void> {
    const { minutes, holdMs } = this.#options
    const everyMs = Math.min(1_000, (minutes * 60_000) / samples)
    let sampledMs = performance.now()
    while (!this.#isOver) {
      await this.#pause(everyMs)
      const nowMs = performance.now()
      this.#lookAtMembers(nowMs)
      const oldest = this.ledger.oldest()
      // Two holds may follow each other where a member left in between.
      if (oldest !== undefined && oldest.ms > 3 * holdMs + graceMs) this.#stuck(oldest)
      if (nowMs - sampledMs < (minutes * 60_000) / samples) continue
      sampledMs = nowMs
      this.#say(this.memory.sample())
    }
  }

  #lookAtMembers(nowMs: number): void {
    for (const member of this.#members) {
      const health = member.consumer.health()
      if (health.ready) member.readySinceMs = nowMs
      else if (nowMs - member.readySinceMs > graceMs) {
        this.violations.push(`a member is not ready for a minute: ${JSON.stringify(health)}`)
        this.#over.abort()
      }
    }
  }

  async #drain(): Promise<void> {
    const deadlineMs = performance.now() + 2 * this.#options.holdMs + graceMs
    while (this.ledger.backlog > 0 && performance.now() < deadlineMs) await sleep(200)
    if (this.ledger.backlog > 0) this.#stuck(this.ledger.oldest())
    // Nothing is in memory any more but what is kept for good.
    this.#say(this.memory.sample())
  }

  #stuck(oldest: { readonly key: string; readonly ms: number } | undefined): void {
    const { key = '?', ms = 0 } = oldest ?? {}
    this.violations.push(`stuck: ${this.ledger.backlog} wait, the oldest of key ${key} for ${Math.round(ms / 1000)} s`)
    this.#over.abort()
  }

  #say(megabytes: number): void {
    const { published, handled, repeats, jumps } = this.ledger.figures()
    const { joins, leaves, waits, longHandlers } = this.counts
    console.log(
      `  ${handled} of ${published}, ${repeats} repeats, ${jumps} jumps; ${joins} joins, ${leaves} leaves, ${waits} waits, ${longHandlers} long handlers; ${megabytes.toFixed(1)} MB`,
    )
  }
}
