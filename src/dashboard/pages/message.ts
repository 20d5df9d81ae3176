import { explanationAsMermaid, type Explanation } from '../../operations/explain.ts'
import { cut, exact, html, type Html } from '../html.ts'
import { note } from '../layout.ts'
import { traceLink } from '../traces.ts'
import type { Route, View, Visit } from '../visit.ts'
import { card, field, inside, lines, plural } from '../widgets.ts'
import { missing, numberOf } from './missing.ts'
import { timeline } from './timeline.ts'

/** What happened to one message, in one line of time. */
export const messageRoutes: readonly Route[] = [{ method: 'GET', path: /^message$/, run: show }]

async function show(visit: Visit): Promise<View> {
  const { ops, url, links } = visit
  // An id may be longer than an address can be: then the number of its letter stands for it.
  const letter = numberOf(url.searchParams.get('letter'))
  const found = letter === null ? undefined : await ops.store.letters.letter(letter)
  if (letter !== null && found === undefined) return missing(visit, 'letter', letter)
  const id = found?.messageId ?? url.searchParams.get('id') ?? ''
  const told = id === '' ? undefined : await ops.explain(id)
  const input = html`<input
    type="text"
    id="id"
    name="id"
    required
    autocomplete="off"
    spellcheck="false"
    value="${found === undefined && exact(id)}"
  />`
  const main = html`<h1>${told === undefined ? 'What happened to a message?' : html`Message ${cut(id, 200)}`}</h1>
    ${card(
      'Find a message',
      inside(
        html`<form method="get" action="${links.to('message')}" role="search" aria-label="Message">
          <div class="fields">
            <div class="broad">${field('Message id', 'id', input)}</div>
            <div class="row"><button class="primary">Show</button></div>
          </div>
        </form>`,
      ),
    )}
    ${told !== undefined && answer(visit, told)}`
  return {
    title: told === undefined ? 'Message' : `Message ${id.slice(0, 80)}`,
    tab: 'message',
    live: told !== undefined,
    main,
  }
}

function answer(visit: Visit, told: Explanation): Html {
  const { happenings, traceIds, incomplete } = told
  if (happenings.length === 0)
    return card(
      'Nothing is known of this message',
      html`<div class="empty">
        <p>
          It left no claim, no dead letter and no outbox row; its claim may have been forgotten since. A message that
          was handled leaves only its claim, for as long as that is remembered.
        </p>
        <p>Ids are compared letter by letter.</p>
      </div>`,
    )
  return html`${incomplete.map((part) => note('warn', html`<p>Not searched to the end: ${part}.</p>`))}
    ${card('What happened', inside(timeline(visit, happenings)), { aside: `${plural(happenings.length, 'entry', 'entries')}, oldest first; what holds now comes last` })}
    ${traceIds.length > 0 && card('Traces', inside(html`<p>${traceIds.map((trace) => html`${traceLink(trace, visit.traceUrl)} `)}</p>`))}
    <details>
      <summary>As a Mermaid diagram, for a ticket or a chat</summary>
      ${lines('Mermaid diagram', explanationAsMermaid(told))}
    </details>`
}
