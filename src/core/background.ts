import { textOf } from './errors.ts'
import type { HasHealth, Health } from './health.ts'
import { having, type Kind } from './options.ts'

/** Something that works until its signal aborts: a consumer, a relay, a worker or a cleaner. */
export interface Runnable {
  run(signal: AbortSignal): Promise<void>
}

/** How a part ended before it was told to, or what it failed of while it stopped. */
export interface PartEnd {
  /** The name in its `health()`, else its place in the list. */
  readonly part: string
  /** Missing if `run()` resolved. */
  readonly error?: unknown
}

export const runnable: Kind = having('run')

/** Runs parts until it is stopped. A part that ends before that is not live any more. */
export class Background {
  readonly #onEnd: (end: PartEnd) => void
  readonly #stop = new AbortController()
  readonly #parts: Part[] = []

  constructor(onEnd: (end: PartEnd) => void) {
    this.#onEnd = onEnd
  }

  /** Starts parts. After `stop()` it starts none. */
  start(parts: readonly Runnable[]): void {
    if (this.#stop.signal.aborted) return
    for (const part of parts) this.#parts.push(this.#begin(part, `part ${this.#parts.length + 1}`))
  }

  /** Aborts the signal of all parts and waits until each has ended. Never rejects. */
  async stop(): Promise<void> {
    this.#stop.abort(new Error('the application stops'))
    await Promise.all(this.#parts.map(({ over }) => over))
  }

  health(): readonly HasHealth[] {
    return this.#parts.map((part) => ({ health: () => healthOf(part) }))
  }

  #begin(runs: Runnable & Partial<HasHealth>, name: string): Part {
    const part: Part = { runs, name, over: Promise.resolve() }
    const { signal } = this.#stop
    const end = (ended: { readonly error?: unknown }): void => {
      if (signal.aborted && !('error' in ended)) return
      part.ended = ended
      this.#onEnd({ part: nameOf(part), ...ended })
    }
    part.over = new Promise<void>((resolve) => resolve(runs.run(signal))).then(
      () => end({}),
      (error: unknown) => end({ error }),
    )
    return part
  }
}

interface Part {
  readonly runs: Runnable & Partial<HasHealth>
  readonly name: string
  over: Promise<void>
  ended?: { readonly error?: unknown }
}

function nameOf({ runs, name }: Part): string {
  try {
    return runs.health?.().name ?? name
  } catch {
    return name
  }
}

function healthOf(part: Part): Health {
  const { runs, ended } = part
  if (ended === undefined) return runs.health?.() ?? { name: part.name, live: true, ready: true, details: {} }
  const why = 'error' in ended ? textOf(ended.error).errorMessage : 'it ended before it was told to'
  return { name: nameOf(part), live: false, ready: false, details: { ended: why } }
}
