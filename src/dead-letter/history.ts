/** One time that a message was given up. */
export interface Death {
  /** In ms since 1970. */
  readonly timeMs: number
  readonly errorName: string
  /** The error's message, cut to 200 bytes. */
  readonly errorMessage: string
  readonly host: string
  /** The version of the service, if it was set. */
  readonly version: string | null
}

export const longestHistory = 5

/** As many of the latest deaths as fit; `null` where not even the last one does. */
export function historyText(history: readonly Death[], maxBytes: number): string | null {
  for (let from = Math.max(0, history.length - longestHistory); from < history.length; from++) {
    const text = JSON.stringify(history.slice(from))
    if (Buffer.byteLength(text) <= maxBytes) return text
  }
  return null
}

/** What a header says, which anybody may have written: what is no death is left out. */
export function historyFrom(text: string | null | undefined): readonly Death[] {
  try {
    const parsed: unknown = JSON.parse(text ?? '[]')
    return Array.isArray(parsed) ? parsed.slice(-longestHistory).flatMap(deathFrom) : []
  } catch {
    return []
  }
}

function deathFrom(value: unknown): readonly Death[] {
  if (typeof value !== 'object' || value === null) return []
  const read = (name: string): string => {
    const text: unknown = Reflect.get(value, name)
    return typeof text === 'string' ? text.slice(0, 1024) : ''
  }
  const timeMs = Number(Reflect.get(value, 'timeMs'))
  if (!Number.isFinite(timeMs)) return []
  const [errorName, errorMessage, host] = [read('errorName'), read('errorMessage'), read('host')]
  return [{ timeMs, errorName, errorMessage, host, version: read('version') || null }]
}
