import type { OperatorAct } from '../../dead-letter/store.ts'
import { otlpOf } from '../../operations/log-records.ts'
import { cut, html, type Fragment } from '../html.ts'
import type { Answer, Route, View, Visit } from '../visit.ts'
import { card, name, pager, table } from '../widgets.ts'
import { numberOf } from './missing.ts'

/** What operators did. */
export const logRoutes: readonly Route[] = [
  { method: 'GET', path: /^log$/, run: show },
  { method: 'GET', path: /^log\/otlp$/, run: download },
]

const pageSize = 100
const mostDownloaded = 10_000

async function show({ ops, url, links, times }: Visit): Promise<View> {
  const before = numberOf(url.searchParams.get('before'))
  const acts = await ops.store.letters.log({ limit: pageSize + 1, ...(before !== null && { before }) })
  const shown = acts.slice(0, pageSize)
  const about = ({ letter, redrive }: OperatorAct): Fragment => [
    letter !== null && html`<a href="${links.to(`letters/${letter}`)}">Letter ${letter}</a> `,
    redrive !== null && html`<a href="${links.to(`redrives/${redrive}`)}">Redrive ${redrive}</a>`,
  ]
  const rows = table<OperatorAct>(
    'Acts, newest first',
    [
      { name: 'When', kind: 'tight', cell: ({ atMs }) => times.when(atMs) },
      { name: 'Who', kind: 'head', cell: ({ by }) => name(by, 80) },
      { name: 'Act', kind: 'name', cell: ({ act }) => cut(act, 80) },
      { name: 'About', kind: 'name', cell: about },
      {
        name: 'Detail',
        kind: 'wide',
        cell: ({ detail }) => detail !== null && html`<code>${cut(JSON.stringify(detail), 400)}</code>`,
      },
    ],
    shown,
    html`<strong>No acts yet</strong>
      <p>Each redrive, edit, drop and reveal is written down here, with who did it.</p>`,
  )
  const next = acts.length > pageSize ? (shown.at(-1)?.id ?? null) : null
  return {
    title: 'Operator log',
    tab: 'log',
    live: before === null,
    main: html`<h1>Operator log</h1>
      <p class="lead">What people did here and with the command. Nothing is acted or revealed without an entry.</p>
      ${card('Acts', rows, {
        aside: 'newest first',
        footer: html`${pager(links, 'log', {}, next, before)}<a href="${links.to('log/otlp')}" download
            >Download as OpenTelemetry log records</a
          >`,
      })}`,
  }
}

async function download({ ops }: Visit): Promise<Answer> {
  const acts = await ops.store.letters.log({ limit: mostDownloaded })
  return {
    bytes: JSON.stringify(otlpOf(acts.toReversed())),
    type: 'application/json',
    fileName: 'holdfast-operator-log.otlp.json',
  }
}
