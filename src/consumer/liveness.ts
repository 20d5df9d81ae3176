import type { Clock } from '../core/clock.ts'

export interface LivenessOptions {
  readonly clock: Clock
  readonly everyMs: number
  /** Without an answer for that long, the partitions may be somebody else's. */
  readonly sessionMs: number
  readonly onTick: () => void
  /** No answer came for a whole session. */
  readonly onSilence: (error: Error) => void
  /** An answer came again. */
  readonly onHeard: () => void
}

/** Watches the answers of the group on a timer of its own, since a client beats between its fetches only. */
export class Liveness {
  readonly #options: LivenessOptions
  #heardMs: number
  #isSilent = false
  #cancel = (): void => {}

  constructor(options: LivenessOptions) {
    this.#options = options
    this.#heardMs = options.clock.now()
  }

  start(): void {
    this.#heardMs = this.#options.clock.now()
    this.#cancel = this.#later()
  }

  get isSilent(): boolean {
    return this.#isSilent
  }

  /** The group answered, by a beat or a join. */
  heard(): void {
    this.#heardMs = this.#options.clock.now()
    if (!this.#isSilent) return
    this.#isSilent = false
    this.#options.onHeard()
  }

  /** No answer is due before that time: a join may take long, and the group knows of it. */
  excuse(ms: number): void {
    this.#heardMs = Math.max(this.#heardMs, this.#options.clock.now() + ms)
  }

  stop(): void {
    this.#cancel()
  }

  #later(): () => void {
    const { clock, everyMs } = this.#options
    return clock.after(everyMs, () => this.#tick())
  }

  #tick(): void {
    this.#cancel = this.#later()
    const { clock, sessionMs, onTick, onSilence } = this.#options
    // Looked at here rather than when an answer comes: there may never be one.
    if (!this.#isSilent && clock.now() - this.#heardMs >= sessionMs) {
      this.#isSilent = true
      onSilence(new Error(`no heartbeat got through for ${sessionMs} ms`))
    }
    onTick()
  }
}
