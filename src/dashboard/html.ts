import { escapeMarkup, escapeText } from './escape.ts'

/** Markup that is ours. Only `html` and `exact` make it, and both escape what is put into them. */
export class Html {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

/** What stands in a template. `false`, `null` and `undefined` leave nothing. */
export type Fragment = Html | string | number | bigint | false | null | undefined | readonly Fragment[]

/** The one way to write markup: every value is escaped, unless it is markup already. */
export function html(parts: TemplateStringsArray, ...values: readonly Fragment[]): Html {
  return new Html(parts.map((part, at) => part + (at < values.length ? markupOf(values[at]) : '')).join(''))
}

function markupOf(value: Fragment): string {
  if (value instanceof Html) return value.text
  if (isList(value)) return value.map(markupOf).join('')
  if (value === null || value === undefined || value === false) return ''
  return escapeText(String(value))
}

function isList(value: Fragment): value is readonly Fragment[] {
  return Array.isArray(value)
}

/** A value that comes back as it is: of a field, or of a text to edit. */
export function exact(value: string): Html {
  return new Html(escapeMarkup(value.toWellFormed()))
}

/** A name that may break after its separators rather than anywhere. */
export function breakable(name: string): Html {
  return new Html(escapeText(name).replace(/[-_./:@](?=\w)/g, '$&<wbr>'))
}

/** The beginning of a long text, and how long it is. */
export function cut(text: string, longest: number, of: (text: string) => Fragment = (shown) => shown): Html {
  if (text.length <= longest) return html`${of(text)}`
  // Half a surrogate pair at the cut would be shown as its code.
  const shown = text.slice(0, longest).replace(/[\ud800-\udbff]$/, '')
  return html`${of(shown)}<span class="dim">… ${text.length.toLocaleString('en')} characters</span>`
}
