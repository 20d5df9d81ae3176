import { setTimeout as sleep } from 'node:timers/promises'

/** Something that handlers call, which can be down, and which counts how it is treated. */
export interface Dependency {
  down: boolean
  /** Rejects while it is down, as a service that answers 503. */
  call(): Promise<void>
  readonly calls: { up: number; down: number }
  /** How many calls were under way at once at most, since `watch()`. */
  readonly most: number
  watch(): void
}

export function dependency(tookMs = 5): Dependency {
  const calls = { up: 0, down: 0 }
  let running = 0
  let most = 0
  const self: Dependency = {
    down: false,
    calls,
    get most() {
      return most
    },
    watch() {
      most = running
    },
    async call() {
      const { down } = self
      calls[down ? 'down' : 'up']++
      most = Math.max(most, ++running)
      await sleep(tookMs)
      running--
      if (down) throw Object.assign(new Error('503'), { status: 503 })
    },
  }
  return self
}
