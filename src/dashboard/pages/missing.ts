import { html } from '../html.ts'
import { plainView } from '../layout.ts'
import type { View, Visit } from '../visit.ts'

export function missing({ links }: Visit, what: 'letter' | 'redrive', id: string): View {
  const list = what === 'letter' ? 'letters' : 'redrives'
  return plainView(
    404,
    `There is no ${what} ${id}`,
    html`<p>It may have been cleaned up: what is final is kept for 30 days, unless told otherwise.</p>
      <p><a href="${links.to(list)}">All ${list}</a></p>`,
  )
}

/** A number out of an address, or nothing. */
export function numberOf(text: string | null): string | null {
  return text !== null && /^\d{1,18}$/.test(text) ? text : null
}
