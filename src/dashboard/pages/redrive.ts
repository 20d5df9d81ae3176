import type { Redrive, RedriveItem } from '../../dead-letter/store.ts'
import { html, type Fragment, type Html } from '../html.ts'
import { note } from '../layout.ts'
import type { Answer, Route, View, Visit } from '../visit.ts'
import { asking, badge, button, card, counted, facts, inside, name, plural, table, tiles } from '../widgets.ts'
import { missing, numberOf } from './missing.ts'
import { progressOf } from './redrives.ts'

export const oneRedriveRoutes: readonly Route[] = [
  { method: 'GET', path: /^redrives\/(\d{1,18})$/, run: show },
  { method: 'POST', path: /^redrives\/(\d{1,18})\/(pause|resume|cancel)$/, run: change },
]

const pageSize = 50

async function show(visit: Visit, [id = '']: readonly string[]): Promise<View> {
  const { ops, url, links, times } = visit
  const after = numberOf(url.searchParams.get('after'))
  const [redrive, items] = await Promise.all([
    ops.store.letters.redrive(id),
    ops.store.letters.redriveItems(id, { limit: pageSize + 1, ...(after !== null && { after }) }),
  ])
  if (redrive === undefined) return missing(visit, 'redrive', id)
  const { state } = redrive
  const main = html`<p class="crumbs"><a href="${links.to('redrives')}">Redrives</a></p>
    <h1>Redrive ${id} ${badge(state)}</h1>
    ${hintOf(redrive, times.nowMs)} ${resultTiles(redrive)}
    <div class="two">
      <div>${whatCard(visit, redrive)}</div>
      <div>${itemsCard(visit, id, items, after)}</div>
    </div>`
  return { title: `Redrive ${id}`, tab: 'redrives', live: state === 'running' || state === 'paused', main }
}

function resultTiles(redrive: Redrive): Html {
  const { total, open, results } = redrive
  const { resolved = 0, sent = 0, dead = 0, guarded = 0, skipped = 0, cancelled = 0 } = results
  return tiles([
    { label: 'Letters', value: total, note: `${counted(total - open)} ended, ${counted(open)} open` },
    { label: 'Handled', value: resolved + sent, note: sent > 0 ? `${counted(sent)} sent to their origin` : 'resolved' },
    { label: 'Died again', value: dead, note: 'dead letters once more', tone: dead > 0 ? 'bad' : undefined },
    {
      label: 'Left alone',
      value: guarded + skipped + cancelled,
      note: `${counted(guarded)} redriven too often, ${counted(skipped)} skipped, ${counted(cancelled)} cancelled`,
    },
  ])
}

function whatCard(visit: Visit, redrive: Redrive): Html {
  const { times } = visit
  const { by, route, perSecond, canary, maxRedrives, createdMs, endedMs, filter } = redrive
  const body = html`<div class="big">${progressOf(redrive)}</div>
    <br />${facts([
      ['By', name(by)],
      ['Made', times.when(createdMs)],
      ['Ended', endedMs !== null && times.when(endedMs)],
      [
        'Route',
        route === 'pipeline' ? 'pipeline: the one that failed' : 'destination: published to where it came from',
      ],
      ['Rate', perSecond === null ? 'no limit' : `${perSecond} letters a second, over all workers`],
      ['Canary', canary !== null && `the first ${plural(canary, 'letter')}, then it pauses`],
      ['Limit', `${plural(maxRedrives, 'redrive')} of one letter`],
      ['Chosen by', html`<code>${JSON.stringify(filter)}</code>`],
    ])}`
  return card('What it does', inside(body), { footer: actsOf(visit, redrive) })
}

function itemsCard({ links }: Visit, id: string, items: readonly RedriveItem[], after: string | null): Html {
  const shown = items.slice(0, pageSize)
  const next = items.length > pageSize ? shown.at(-1)?.letter : undefined
  const resultOf = ({ result, generation }: RedriveItem): Fragment =>
    result !== null ? badge(result) : generation === null ? 'waits' : 'sent, no result yet'
  const rows = table<RedriveItem>(
    `Letters of redrive ${id}`,
    [
      {
        name: 'Letter',
        kind: 'head',
        cell: ({ letter }) => html`<a href="${links.to(`letters/${letter}`)}">Letter ${letter}</a>`,
      },
      { name: 'Result', cell: resultOf },
    ],
    shown,
    html`<strong>No more letters</strong>`,
  )
  const pages =
    (next !== undefined || after !== null) &&
    html`<nav class="row" aria-label="Pages">
      ${after !== null && html`<a href="${links.to(`redrives/${id}`)}">First</a>`}${next !== undefined && html`<a href="${links.to(`redrives/${id}`, { after: next })}">Next</a>`}
    </nav>`
  return card('Letters', rows, {
    aside: 'in the order of their first deaths',
    ...(pages !== false && { footer: pages }),
  })
}

const quietMs = 30_000

function hintOf({ state, canary, total, open, createdMs, results: { dead = 0 } }: Redrive, nowMs: number): Fragment {
  if (state === 'paused' && canary !== null && open > 0 && total - open >= canary)
    return dead > 0
      ? note(
          'bad',
          html`<p><strong>The canary is over.</strong> ${plural(dead, 'letter')} died again: look at them first.</p>`,
        )
      : note(
          'good',
          html`<p>
            <strong>The canary is over.</strong> No letter died again. Resume to send the rest, or cancel: no other
            letter was sent.
          </p>`,
        )
  if (state === 'running' && total === open && nowMs - createdMs > quietMs)
    return note(
      'warn',
      html`<p>
        <strong>No letter has ended yet.</strong> A <code>redriveWorker</code> in your service runs a redrive. Look
        whether one is running for this pipeline.
      </p>`,
    )
  return null
}

function actsOf(visit: Visit, { id, state, open }: Redrive): Fragment {
  if (!visit.mayAct || (state !== 'running' && state !== 'paused')) return undefined
  const goOn =
    state === 'running'
      ? button(visit, { to: `redrives/${id}/pause`, label: 'Pause' })
      : button(visit, { to: `redrives/${id}/resume`, label: 'Resume', tone: 'primary' })
  return html`${goOn}${asking(visit, {
    to: `redrives/${id}/cancel`,
    label: 'Cancel',
    tone: 'danger',
    why: `${plural(open, 'letter')} without a result will not be sent, and stay dead. A cancelled redrive cannot be resumed.`,
  })}`
}

const wanted = { pause: 'paused', resume: 'running', cancel: 'cancelled' } as const

async function change(visit: Visit, [id = '', act = '']: readonly string[]): Promise<Answer> {
  const { ops, user, links } = visit
  const verb = act === 'pause' || act === 'resume' ? act : 'cancel'
  const state = await ops.store.letters[verb](id, user.name)
  if (state === undefined) return missing(visit, 'redrive', id)
  return { goTo: links.to(`redrives/${id}`, { done: state === wanted[verb] ? `redrive-${state}` : 'nothing' }) }
}
