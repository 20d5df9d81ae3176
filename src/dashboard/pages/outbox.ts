import type { OutboxStatus, ShardStatus } from '../../outbox/store.ts'
import type { OutboxDeadRow } from '../../operations/store.ts'
import { cut, html, type Fragment, type Html } from '../html.ts'
import { duration } from '../times.ts'
import type { Answer, Fields, Route, View, Visit } from '../visit.ts'
import { badge, card, counted, hidden, name, plural, table, tiles, type Column } from '../widgets.ts'
import { numberOf } from './missing.ts'

export const outboxRoutes: readonly Route[] = [
  { method: 'GET', path: /^outbox$/, run: show },
  { method: 'POST', path: /^outbox\/(replay|skip)$/, run: act },
]

const pageSize = 50

async function show(visit: Visit): Promise<View> {
  const { ops, url } = visit
  const status = await ops.store.outbox()
  if (status === undefined) return none()
  const after = numberOf(url.searchParams.get('after'))
  const refused =
    status.dead === 0 ? [] : await ops.store.outboxDead({ limit: pageSize + 1, ...(after !== null && { after }) })
  const main = html`<h1>Outbox</h1>
    <p class="lead">Messages of committed transactions that relays publish, shard by shard.</p>
    ${statusTiles(status)} ${refusedCard(visit, refused, after)} ${shardsCard(status)}`
  return { title: 'Outbox', tab: 'outbox', live: after === null, main }
}

function none(): View {
  const text = html`<div class="empty">
    <strong>This schema has no outbox</strong>
    <p>The command <code>holdfast migrate apply</code> makes its tables.</p>
  </div>`
  return {
    title: 'Outbox',
    tab: 'outbox',
    main: html`<h1>Outbox</h1>
      ${card('No outbox', text)}`,
  }
}

function statusTiles({ pending, pendingLimit, oldestAgeMs, delayed, dead, shards }: OutboxStatus): Html {
  const unheld = shards.filter(({ held }) => !held).length
  return tiles([
    {
      label: 'To publish',
      value: `${counted(pending)}${pending >= pendingLimit ? '+' : ''}`,
      note: oldestAgeMs === null ? 'nothing waits' : `the oldest for ${duration(oldestAgeMs)}`,
    },
    { label: 'Delayed', value: delayed, note: 'wait for their time' },
    { label: 'Refused for good', value: dead, note: 'by the broker', tone: dead > 0 ? 'bad' : undefined },
    {
      label: 'Shards without a relay',
      value: unheld,
      note: `of ${plural(shards.length, 'shard')}`,
      tone: unheld > 0 && pending > 0 ? 'warn' : undefined,
    },
  ])
}

function refusedCard(visit: Visit, rows: readonly OutboxDeadRow[], after: string | null): Html {
  const { links, times, mayAct } = visit
  const shown = rows.slice(0, pageSize)
  const next = rows.length > pageSize ? shown.at(-1)?.position : undefined
  const pick: Column<OutboxDeadRow> = {
    name: 'Choose',
    kind: 'tight',
    cell: ({ position }) =>
      html`<input type="checkbox" name="position" value="${position}" aria-label="Choose position ${position}" />`,
  }
  const list = table<OutboxDeadRow>(
    'Messages that the broker refused',
    [
      ...(mayAct ? [pick] : []),
      { name: 'Position', kind: 'number', cell: ({ position }) => position },
      {
        name: 'Message',
        kind: 'head',
        cell: ({ messageId }) =>
          html`<a href="${links.to('message', { id: messageId.slice(0, 4000) })}">${name(messageId, 80)}</a>`,
      },
      { name: 'Destination', kind: 'name', cell: ({ destination }) => name(destination) },
      { name: 'Key', kind: 'name', cell: ({ key }) => name(key, 60) },
      { name: 'Error', kind: 'wide', cell: ({ error }) => html`<span class="clamp">${cut(error, 300)}</span>` },
      { name: 'Refused', kind: 'tight', cell: ({ diedMs }) => times.when(diedMs) },
    ],
    shown,
    html`<strong>Nothing was refused</strong>
      <p>The broker took every message so far.</p>`,
  )
  const body =
    mayAct && shown.length > 0
      ? html`<form method="post" action="${links.to('outbox/replay')}">
          ${hidden(visit)}${list}
          <footer class="in row">
            <button>Publish the chosen again</button>
            <details class="ask danger">
              <summary>Skip the chosen</summary>
              <div>
                <p>The chosen messages are forgotten: they will never be published.</p>
                <button class="danger" formaction="${links.to('outbox/skip')}">Skip</button>
              </div>
            </details>
            <span class="hint">Published again, they come behind what their keys have sent since.</span>
          </footer>
        </form>`
      : list
  const pages: Fragment =
    (next !== undefined || after !== null) &&
    html`<nav class="row" aria-label="Pages">
      ${after !== null && html`<a href="${links.to('outbox')}">Oldest</a>`}${next !== undefined && html`<a href="${links.to('outbox', { after: next })}">Newer</a>`}
    </nav>`
  return card('Refused by the broker', body, { aside: 'oldest first', ...(pages !== false && { footer: pages }) })
}

function shardsCard({ shards }: OutboxStatus): Html {
  const rows = table<ShardStatus>(
    'Shards',
    [
      { name: 'Shard', kind: 'head', cell: ({ shard }) => shard },
      {
        name: 'Held',
        kind: 'tight',
        cell: ({ held }) => (held ? badge('held') : html`<span class="badge warn">no relay</span>`),
      },
      { name: 'Relay', kind: 'name', cell: ({ owner }) => name(owner) },
      { name: 'Epoch', kind: 'number', cell: ({ epoch }) => epoch },
    ],
    shards,
    html`<strong>No shards</strong>`,
  )
  return card('Shards', rows)
}

async function act(visit: Visit, [verb = '']: readonly string[], fields: Fields): Promise<Answer> {
  const { ops, user, links } = visit
  const positions = fields.all('position').filter((each) => numberOf(each) !== null)
  if (positions.length === 0) return { goTo: links.to('outbox', { done: 'none-chosen' }) }
  const n =
    verb === 'replay'
      ? await ops.store.outboxReplay(positions, user.name)
      : await ops.store.outboxSkip(positions, user.name)
  return { goTo: links.to('outbox', { done: `outbox-${verb}`, n: `${n}` }) }
}
