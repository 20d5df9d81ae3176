import type { RedriveState, LetterState } from '../dead-letter/store.ts'
import { breakable, cut, exact, html, type Fragment, type Html } from './html.ts'
import type { Links, Params, Visit } from './visit.ts'

export interface Column<Row> {
  readonly name: string
  readonly cell: (row: Row) => Fragment
  /** `head` names the row. `wide` gets the room that is left; `tight` and `number` take what they need. */
  readonly kind?: 'head' | 'name' | 'wide' | 'tight' | 'number'
}

const classes = { head: 'head', name: 'name', wide: 'wide', tight: 'tight', number: 'number-cell' } as const

/** A table that a screen reader can walk, and that becomes a list of cards on a narrow screen. */
export function table<Row>(
  caption: string,
  columns: readonly Column<Row>[],
  rows: readonly Row[],
  ifEmpty: Fragment,
): Html {
  if (rows.length === 0) return html`<div class="empty">${ifEmpty}</div>`
  const head = columns.map(
    ({ name, kind }) =>
      html`<th role="columnheader" scope="col" class="${kind === undefined ? '' : classes[kind]}">${name}</th>`,
  )
  const line = (row: Row): Html =>
    html`<tr role="row">
      ${columns.map(({ name, cell, kind }) => {
        const text = cell(row)
        const named = kind === undefined ? '' : classes[kind]
        return kind === 'head'
          ? html`<th role="rowheader" scope="row" class="${named}" data-label="${name}">${text}</th>`
          : html`<td role="cell" class="${named}" data-label="${name}">${text}</td>`
      })}
    </tr>`
  // Roles are told, since a table that is laid out as blocks loses its own.
  return html`<div class="scroll" role="region" aria-label="${caption}" tabindex="0">
    <table class="stack" role="table">
      <caption class="sr">
        ${caption}
      </caption>
      <thead role="rowgroup">
        <tr role="row">
          ${head}
        </tr>
      </thead>
      <tbody role="rowgroup">
        ${rows.map(line)}
      </tbody>
    </table>
  </div>`
}

/** A text of many lines. It scrolls, so the keyboard must reach it, and it needs a name. */
export function lines(label: string, text: Fragment): Html {
  return html`<pre tabindex="0" role="region" aria-label="${label}">${text}</pre>`
}

export function card(
  title: string,
  body: Fragment,
  { aside, footer }: { aside?: Fragment; footer?: Fragment } = {},
): Html {
  return html`<section class="card">
    <header>
      <h2>${title}</h2>
      ${aside !== undefined && html`<p>${aside}</p>`}
    </header>
    ${body}${footer !== undefined && html`<footer>${footer}</footer>`}
  </section>`
}

export function inside(body: Fragment): Html {
  return html`<div class="in">${body}</div>`
}

export function facts(rows: readonly (readonly [name: string, value: Fragment])[]): Html {
  const shown = rows.filter(([, value]) => value !== null && value !== undefined && value !== '' && value !== false)
  return html`<dl class="facts">
    ${shown.map(
      ([name, value]) =>
        html`<dt>${name}</dt>
          <dd>${value}</dd>`,
    )}
  </dl>`
}

export interface Tile {
  readonly label: string
  readonly value: string | number
  readonly note?: Fragment
  readonly tone?: 'bad' | 'warn' | undefined
}

export function tiles(all: readonly Tile[]): Html {
  return html`<ul class="tiles">
    ${all.map(
      ({ label, value, note, tone }) =>
        html`<li class="tile ${tone !== undefined && `is-${tone}`}">
          <span class="label">${label}</span>
          <span class="number">${typeof value === 'number' ? counted(value) : value}</span>
          <span class="under">${note}</span>
        </li>`,
    )}
  </ul>`
}

export function counted(n: number): string {
  return n.toLocaleString('en')
}

export function plural(n: number, one: string, many: string = `${one}s`): string {
  return `${counted(n)} ${n === 1 ? one : many}`
}

const tones: Readonly<Record<string, string>> = {
  ...{ dead: 'bad', redriving: 'warn', resolved: 'good' },
  ...{ running: 'warn', paused: 'warn', done: 'good' },
  ...{ open: 'bad', 'half-open': 'warn', closed: 'good' },
  ...{ 'in-progress': 'warn', failed: 'bad', completed: 'good' },
  ...{ blocked: 'bad', parked: 'warn', stuck: 'warn' },
}

export function badge(state: LetterState | RedriveState | (string & {})): Html {
  return html`<span class="badge ${tones[state] ?? ''}">${state}</span>`
}

const shortest = 26

/** A key, an id or another name, with breaks at its separators. */
export function name(text: string | null, longest = 120): Html {
  if (text === null) return html`<span class="dim">none</span>`
  if (text === '') return html`<span class="dim">empty</span>`
  // A short name stays on its line; a longer one breaks after its separators.
  if (text.length <= shortest) return html`<code class="short">${text}</code>`
  return html`<code>${cut(text, longest, breakable)}</code>`
}

/** An error's name, and beside it what varies or its shape. */
export function errorText(errorName: string, text: string, longest = 400): Html {
  return html`<span class="error-name">${cut(errorName, 80, breakable)}</span
    >${text !== '' && html`<span class="clamp">${cut(text, longest)}</span>`}`
}

/** The marks of a form of ours. Every form that acts begins with them. */
export function hidden(visit: Visit, values: Params = {}): Html {
  const all = Object.entries<string | undefined>({ 'form-token': visit.formToken, ...values })
  return html`${all.map(([field, value]) => value !== undefined && html`<input type="hidden" name="${field}" value="${exact(value)}" />`)}`
}

/** Text that a hidden field must bring back unchanged: browsers change line ends, and drop what HTML cannot hold. */
export function packed(value: unknown): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url')
}

export function unpacked(field: string): unknown {
  try {
    return JSON.parse(Buffer.from(field, 'base64url').toString()) as unknown
  } catch {
    return undefined
  }
}

export interface FormOptions {
  readonly to: string
  readonly values?: Params
  readonly label: string
  readonly tone?: 'primary' | 'danger' | undefined
  /** What a screen reader says where the label alone names nothing: `Unblock key order-7`. */
  readonly about?: string
}

/** A button that acts. */
export function button(visit: Visit, { to, values = {}, label, tone, about }: FormOptions): Html {
  return html`<form method="post" action="${visit.links.to(to)}">
    ${hidden(visit, values)}<button class="${tone ?? ''}" ${about !== undefined && html` aria-label="${about}"`}>
      ${label}
    </button>
  </form>`
}

/** A button that says first what it does: it opens, and the button inside acts. It works without a script. */
export function asking(visit: Visit, { why, ...form }: FormOptions & { readonly why: Fragment }): Html {
  const { label, tone, about } = form
  return html`<details class="ask ${tone === 'danger' && 'danger'}"><summary${about !== undefined && html` aria-label="${about}"`}>${label}</summary><div><p>${why}</p>${button(visit, form)}</div></details>`
}

/** Newest first: to the beginning, and to what is older. */
export function pager(
  links: Links,
  path: string,
  query: Params,
  next: string | null,
  at: string | null,
): Html | undefined {
  if (next === null && at === null) return undefined
  return html`<nav aria-label="Pages" class="row">
    ${at !== null && html`<a href="${links.to(path, query)}">Newest</a>`}${next !== null ? html`<a rel="next" href="${links.to(path, { ...query, before: next })}">Older</a>` : html`<span>This is the end of the list.</span>`}
  </nav>`
}

export function field(label: string, id: string, input: Fragment, hint?: Fragment): Html {
  return html`<div>
    <label for="${id}">${label}</label
    >${input}${hint !== undefined && html`<p class="hint" id="${id}-hint">${hint}</p>`}
  </div>`
}

export function choices(
  id: string,
  options: readonly (readonly [value: string, label: string])[],
  selected: string,
): Html {
  return html`<select id="${id}" name="${id}">
    ${options.map(([value, label]) => html`<option value="${exact(value)}" ${value === selected && html` selected`}>${label}</option>`)}
  </select>`
}
