import type { LetterGroup, LetterState, LetterSummary } from '../../dead-letter/store.ts'
import { filterFrom, filterNames, letterStates, reasons, type Asked, type FilterName } from '../filter.ts'
import { exact, html, type Fragment, type Html } from '../html.ts'
import { note } from '../layout.ts'
import type { Params, Route, View, Visit } from '../visit.ts'
import { badge, card, choices, errorText, field, inside, name, pager, plural, table, type Column } from '../widgets.ts'

export const letterListRoutes: readonly Route[] = [{ method: 'GET', path: /^letters$/, run: show }]

const pageSize = 50
const stateChoices: readonly (readonly [value: string, label: string])[] = [
  ['', 'dead or redriving'],
  ...letterStates.map((state) => [state, state] as const),
  ['all', 'all'],
]

interface Shown {
  readonly asked: Asked
  readonly state: string
  readonly query: Params
  readonly letters: readonly LetterSummary[]
  /** Letters that match and wait. `undefined` where other states are listed, which nobody counts. */
  readonly matching: number | undefined
}

async function show(visit: Visit): Promise<View> {
  const { ops, url, links, times } = visit
  const asked = filterFrom(url.searchParams, ['before', 'state', 'done', 'n'], times.nowMs)
  const state = url.searchParams.get('state') ?? ''
  const problems = [
    ...asked.problems,
    ...(stateChoices.some(([value]) => value === state) ? [] : ['There is no such state.']),
  ]
  if (problems.length > 0) return refused(visit, asked, state, problems)
  const before = url.searchParams.get('before')
  const { letters } = ops.store
  const [page, matching, groups] = await Promise.all([
    letters.list(asked.filter, {
      limit: pageSize,
      ...(before !== null && { before }),
      ...(state !== '' && { states: state === 'all' ? letterStates : [state as LetterState] }),
    }),
    state === '' ? letters.count(asked.filter) : undefined,
    asked.filter.group === undefined ? [] : letters.groups(asked.filter, 1),
  ])
  const query = { ...asked.query, state }
  const shown = { asked, state, query, letters: page.letters, matching }
  const main = html`${headingOf(visit, asked, groups[0])} ${chipsOf(visit, query)} ${filterCard(visit, asked, state)}
  ${listCard(visit, shown, pager(links, 'letters', query, page.next, before))}`
  return { title: titleOf(asked, groups[0]), tab: 'letters', live: before === null, main }
}

function refused(visit: Visit, asked: Asked, state: string, problems: readonly string[]): View {
  const main = html`<h1>Dead letters</h1>
    ${note(
      'bad',
      html`<p><strong>Nothing was looked up.</strong></p>
        ${problems.map((problem) => html`<p>${problem}</p>`)}`,
    )}${filterCard(visit, asked, state)}`
  return { title: 'Dead letters', tab: 'letters', status: 400, main }
}

function titleOf({ filter }: Asked, group: LetterGroup | undefined): string {
  if (filter.group === undefined) return 'Dead letters'
  return group === undefined ? 'Group without dead letters' : `${group.errorName}: ${group.shape}`.slice(0, 120)
}

function headingOf({ links, times }: Visit, { filter }: Asked, group: LetterGroup | undefined): Html {
  if (filter.group === undefined) return html`<h1>Dead letters</h1>`
  const crumbs = html`<p class="crumbs"><a href="${links.to('letters')}">Dead letters</a></p>`
  if (group === undefined)
    return html`${crumbs}
      <h1>Group without dead letters</h1>
      <p class="lead">All its letters were handled, replaced or dropped, or were cleaned up since.</p>`
  return html`${crumbs}
    <h1>${group.errorName}: ${group.shape}</h1>
    <p class="lead">
      ${plural(group.letters, 'letter')} of pipeline ${name(group.pipeline)} with an error of this shape. First
      ${times.text(group.firstMs)}, last ${times.text(group.lastMs)}.
    </p>`
}

function chipsOf({ links }: Visit, query: Params): Html | null {
  const names = Object.keys(filterNames) as readonly FilterName[]
  const used = names.filter((each) => query[each] !== undefined && query[each] !== '')
  if (used.length === 0) return null
  return html`<ul class="chips" aria-label="Filters in use">
    ${used.map((each) => {
      const value = query[each] ?? ''
      const label = `${filterNames[each]}: ${value.length > 60 ? `${value.slice(0, 60)}…` : value}`
      return html`<li>
        <a href="${links.to('letters', { ...query, [each]: undefined })}" aria-label="Remove the filter ${label}"
          >${label}</a
        >
      </li>`
    })}
  </ul>`
}

function filterCard({ links }: Visit, { query }: Asked, state: string): Html {
  const value = (of: FilterName): string => query[of] ?? ''
  const input = (of: FilterName, hint?: Fragment): Html =>
    field(
      filterNames[of],
      of,
      html`<input
        type="text"
        id="${of}"
        name="${of}"
        value="${exact(value(of))}"
        autocomplete="off"
        spellcheck="false"
        ${hint !== undefined && html` aria-describedby="${of}-hint"`}
      />`,
      hint,
    )
  const rare: readonly FilterName[] = ['group', 'ids', 'reason', 'trace', 'subject', 'until']
  const anyReason = [['', 'any'] as const, ...reasons.map((reason) => [reason, reason] as const)]
  return card(
    'Filter',
    inside(html`<form method="get" action="${links.to('letters')}" role="search" aria-label="Dead letters">
<div class="fields">${input('pipeline')}${input('key')}${input('id')}${input('text')}${input('since')}${field('State', 'state', choices('state', stateChoices, state))}</div>
<details${rare.some((each) => value(each) !== '') && html` open`}><summary>More filters</summary>
<div class="fields">${input('group')}${field(filterNames.reason, 'reason', choices('reason', anyReason, value('reason')))}${input('trace')}${input('subject')}${input('until')}${input('ids')}</div></details>
<div class="row"><button class="primary">Show</button> <a href="${links.to('letters')}">Clear</a> <span class="hint">Times: 90s, 15m, 2h, 3d ago, or a date such as 2026-11-27T18:00Z.</span></div></form>`),
  )
}

function listCard(visit: Visit, shown: Shown, pages: Html | undefined): Html {
  const { links, times, mayAct } = visit
  const { letters, matching, state } = shown
  const acts = mayAct && letters.length > 0 && (state === '' || state === 'dead' || state === 'all')
  const pick: Column<LetterSummary> = {
    name: 'Choose',
    kind: 'tight',
    cell: ({ id, state: of }) =>
      of === 'dead' && html`<input type="checkbox" name="ids" value="${id}" aria-label="Choose letter ${id}" />`,
  }
  const rows = table<LetterSummary>(
    'Dead letters, newest first',
    [
      ...(acts ? [pick] : []),
      {
        name: 'Letter',
        kind: 'tight',
        cell: ({ id }) => html`<a href="${links.to(`letters/${id}`)}" aria-label="Letter ${id}">${id}</a>`,
      },
      { name: 'Message', kind: 'head', cell: ({ messageId }) => name(messageId, 80) },
      { name: 'Key', kind: 'name', cell: ({ key }) => name(key, 60) },
      { name: 'Pipeline', kind: 'name', cell: ({ pipeline }) => name(pipeline, 60) },
      { name: 'Error', kind: 'wide', cell: (letter) => errorText(letter.errorName, letter.errorMessage, 240) },
      {
        name: 'State',
        kind: 'tight',
        cell: (letter) =>
          html`${badge(letter.state)}${letter.deaths > 1 && html`<br /><span class="dim">died ${letter.deaths} times</span>`}`,
      },
      { name: 'Died', kind: 'tight', cell: ({ deadMs }) => times.when(deadMs) },
    ],
    letters,
    shown.asked.isEmpty && state === ''
      ? html`<strong>No dead letters</strong>
          <p>Every message was handled, or waits to be tried again.</p>`
      : html`<strong>No letter matches</strong>
          <p>
            Remove a filter, or look at
            <a href="${links.to('letters', { ...shown.query, state: 'all' })}">all states</a>.
          </p>`,
  )
  const title =
    state === '' ? 'Letters that wait' : state === 'all' ? 'Letters in every state' : `Letters that are ${state}`
  const body = acts
    ? html`<form method="get" action="${links.to('redrives/new')}">${barOf(visit, shown)}${rows}</form>`
    : rows
  return card(title, body, {
    aside: matching !== undefined && `${plural(matching, 'letter matches', 'letters match')}, newest first`,
    footer: pages,
  })
}

/** Acts on the chosen letters, or on all that match. Both show first what they would do. */
function barOf({ links }: Visit, { asked, matching }: Shown): Html {
  const which = asked.isEmpty ? { all: '1' } : asked.query
  const all =
    matching !== undefined &&
    html`<span class="gap"></span><span class="dim">All that match:</span
      ><a class="button" href="${links.to('redrives/new', which)}" aria-label="Redrive all that match">Redrive…</a
      ><a class="button danger" href="${links.to('letters/drop', which)}" aria-label="Drop all that match">Drop…</a>`
  return html`<div class="bar">
    <span class="dim">The chosen:</span><button aria-label="Redrive the chosen letters">Redrive…</button
    ><button class="danger" formaction="${links.to('letters/drop')}" aria-label="Drop the chosen letters">Drop…</button
    >${all}
  </div>`
}
