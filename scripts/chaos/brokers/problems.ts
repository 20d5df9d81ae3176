import { subscribe } from '../../../src/core/events.ts'

const kept = 400
const shown = 60

/** What the processes of a run said of their troubles. A long run that failed has to tell why. */
export class Problems {
  readonly #lines: string[] = []
  readonly #isVerbose: boolean

  constructor(isVerbose: boolean) {
    this.#isVerbose = isVerbose
  }

  said(pid: number, line: string): void {
    const text = `  [${pid}] ${line}`
    if (this.#isVerbose) console.error(text)
    this.#lines.push(text)
    if (this.#lines.length > kept) this.#lines.shift()
  }

  /** For the end of a run that was broken and should not have been. */
  print(): void {
    if (this.#isVerbose) return
    console.error('the last that the processes said:')
    for (const line of this.#lines.slice(-shown)) console.error(line)
  }
}

/** Called in a consumer process: says what happens to its membership, on stderr. */
export function tellChanges(): void {
  subscribe('consumer-changed', ({ change, detail, error }) => {
    const because = error instanceof Error ? `: ${error.message}` : ''
    console.error(`${new Date().toISOString().slice(11, 23)} ${change} ${JSON.stringify(detail)}${because}`)
  })
}
