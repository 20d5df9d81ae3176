import type { Happening } from '../../operations/explain.ts'
import { cut, html, type Fragment } from '../html.ts'
import type { Visit } from '../visit.ts'
import { name } from '../widgets.ts'

const longestEntry = 600

export function timeline({ times }: Visit, happenings: readonly Happening[]): Fragment {
  if (happenings.length === 0) return html`<p class="dim">Nothing is known.</p>`
  return html`<ol class="timeline">
    ${happenings.map(
      ({ atMs, source, who, what }) =>
        html`<li class="${toneOf(source, what)}">
          <div class="meta">
            ${atMs === null ? 'now' : times.when(atMs)} · ${source}${who !== '' && html` · ${name(who, 80)}`}
          </div>
          <div>${cut(what, longestEntry)}</div>
        </li>`,
    )}
  </ol>`
}

function toneOf(source: Happening['source'], what: string): string {
  if (source === 'claim') return /: completed/.test(what) ? 'good' : /: failed/.test(what) ? 'bad' : 'warn'
  if (source === 'parked') return /blocks the others/.test(what) ? 'bad' : 'warn'
  if (/: given up |: refused|attempt-failed|: died/.test(what)) return 'bad'
  if (/: resolved/.test(what)) return 'good'
  return ''
}
