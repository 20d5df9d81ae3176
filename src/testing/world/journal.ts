import type { Line, Violation } from './task.ts'

/** What happened in one run, in order, and what was wrong with it first. */
export interface Journal {
  readonly lines: readonly Line[]
  readonly hash: string
  readonly violation: Violation | undefined
  readonly say: (who: string, text: string) => void
  readonly violate: (invariant: string, text: string) => void
  /** The run begins: what is wrong is told after what broke it. */
  open(): void
  close(): void
}

export interface JournalOptions {
  /** Keeps every line, not only their digest. */
  readonly record: boolean
  readonly nowMs: () => number
}

export function journal({ record, nowMs }: JournalOptions): Journal {
  const lines: Line[] = []
  let hash = 2_166_136_261
  let violation: Violation | undefined
  let isOpen = false

  /** FNV-1a over everything that is said. */
  function say(who: string, text: string): void {
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 16_777_619) >>> 0
    if (record) lines.push({ atMs: nowMs(), who, text })
  }

  function sayViolation(): void {
    if (violation !== undefined) say('', `✗ ${violation.invariant}: ${violation.text}`)
  }

  return {
    lines,
    say,
    get hash() {
      return hash.toString(16).padStart(8, '0')
    },
    get violation() {
      return violation
    },
    violate(invariant, text) {
      if (violation !== undefined) return
      violation = { invariant, text }
      if (!isOpen) sayViolation()
    },
    open() {
      isOpen = true
    },
    close() {
      isOpen = false
      sayViolation()
    },
  }
}
