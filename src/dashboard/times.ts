import { html, type Html } from './html.ts'

/** Shows instants with date, seconds and zone: what is read at night may be of yesterday, and of another country. */
export interface Times {
  readonly zone: string
  readonly nowMs: number
  /** An instant and how long ago that was. `null` and what is no instant leave a dash. */
  when(ms: number | null): Html
  /** The instant alone, as text. */
  text(ms: number): string
}

const formats = new Map<string, Intl.DateTimeFormat>()

export function formatOf(zone: string): Intl.DateTimeFormat {
  const known = formats.get(zone)
  if (known !== undefined) return known
  const made = new Intl.DateTimeFormat('en-GB', {
    timeZone: zone,
    ...({ year: 'numeric', month: '2-digit', day: '2-digit' } as const),
    ...({ hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23', timeZoneName: 'short' } as const),
  })
  formats.set(zone, made)
  return made
}

export function times(zone: string, nowMs: number): Times {
  const format = formatOf(zone)

  function parts(ms: number): { readonly at: string; readonly zone: string } {
    const found = new Map(format.formatToParts(ms).map(({ type, value }) => [type, value] as const))
    const of = (type: Intl.DateTimeFormatPartTypes): string => found.get(type) ?? ''
    return {
      at: `${of('year')}-${of('month')}-${of('day')} ${of('hour')}:${of('minute')}:${of('second')}`,
      zone: of('timeZoneName'),
    }
  }

  return {
    zone,
    nowMs,
    when(ms) {
      if (!isInstant(ms)) return html`<span class="dim">–</span>`
      const { at, zone: named } = parts(ms)
      const difference = nowMs - ms
      const told = difference >= 0 ? `${duration(difference)} ago` : `in ${duration(-difference)}`
      return html`<time class="when" datetime="${new Date(ms).toISOString()}"
        ><span class="at">${at} <span class="zone">${named}</span></span> <span class="ago">${told}</span></time
      >`
    },
    text(ms) {
      if (!isInstant(ms)) return 'unknown'
      const { at, zone: named } = parts(ms)
      return `${at} ${named}`
    },
  }
}

function isInstant(ms: number | null): ms is number {
  return ms !== null && Math.abs(ms) <= 8.64e15
}

const units = [
  ['d', 86_400_000],
  ['h', 3_600_000],
  ['min', 60_000],
  ['s', 1000],
] as const

export function duration(ms: number): string {
  for (const [unit, size] of units)
    if (ms >= size) {
      const value = ms / size
      return `${value < 10 && unit !== 's' ? Math.floor(value * 10) / 10 : Math.floor(value)} ${unit}`
    }
  return ms >= 1 ? 'less than 1 s' : '0 s'
}
