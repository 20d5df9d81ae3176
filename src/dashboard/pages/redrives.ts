import type { Redrive } from '../../dead-letter/store.ts'
import { html, type Html } from '../html.ts'
import type { Route, View, Visit } from '../visit.ts'
import { badge, card, counted, name, pager, table } from '../widgets.ts'
import { numberOf } from './missing.ts'

export const redriveRoutes: readonly Route[] = [{ method: 'GET', path: /^redrives$/, run: list }]

const pageSize = 50

export function progressOf({ id, total, open }: Redrive): Html {
  const done = total - open
  return html`<span>${counted(done)} of ${counted(total)}</span
    ><progress max="${Math.max(1, total)}" value="${done}" aria-label="Progress of redrive ${id}"></progress>`
}

function resultsOf({ results, open }: Redrive): string {
  const ended = Object.entries(results).map(([result, n]) => `${counted(n)} ${result}`)
  return [...ended, ...(open > 0 ? [`${counted(open)} open`] : [])].join(', ')
}

async function list({ ops, url, links, times }: Visit): Promise<View> {
  const before = numberOf(url.searchParams.get('before'))
  const redrives = await ops.store.letters.redrives({ limit: pageSize + 1, ...(before !== null && { before }) })
  const shown = redrives.slice(0, pageSize)
  const rows = table<Redrive>(
    'Redrives, newest first',
    [
      {
        name: 'Redrive',
        kind: 'head',
        cell: ({ id }) => html`<a href="${links.to(`redrives/${id}`)}">Redrive ${id}</a>`,
      },
      { name: 'State', kind: 'tight', cell: ({ state }) => badge(state) },
      { name: 'Progress', cell: progressOf },
      { name: 'Results', kind: 'name', cell: resultsOf },
      { name: 'Rate', kind: 'tight', cell: ({ perSecond }) => (perSecond === null ? 'no limit' : `${perSecond}/s`) },
      { name: 'Route', kind: 'tight', cell: ({ route }) => route },
      { name: 'By', kind: 'name', cell: ({ by }) => name(by, 60) },
      { name: 'Made', kind: 'tight', cell: ({ createdMs }) => times.when(createdMs) },
    ],
    shown,
    html`<strong>No redrives</strong>
      <p>Choose <a href="${links.to('letters')}">dead letters</a>, then redrive them.</p>`,
  )
  const next = redrives.length > pageSize ? (shown.at(-1)?.id ?? null) : null
  return {
    title: 'Redrives',
    tab: 'redrives',
    live: before === null,
    main: html`<h1>Redrives</h1>
      <p class="lead">
        A redrive gives a fixed list of dead letters to the pipeline that failed. The workers in your services run it.
      </p>
      ${card('All redrives', rows, { aside: 'newest first', footer: pager(links, 'redrives', {}, next, before) })}`,
  }
}
