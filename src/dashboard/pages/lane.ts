import type { ParkedLane, ParkedMessage } from '../../operations/store.ts'
import { html, type Fragment, type Html } from '../html.ts'
import { note, plainView } from '../layout.ts'
import type { Answer, Fields, Params, Route, View, Visit } from '../visit.ts'
import {
  asking,
  badge,
  button,
  card,
  counted,
  errorText,
  facts,
  hidden,
  inside,
  name,
  plural,
  table,
  type Column,
} from '../widgets.ts'
import { miscounted, typedNumber } from './redrive-new.ts'

/** One parked key: what waits in it, and what an operator may do to it. */
export const laneRoutes: readonly Route[] = [
  { method: 'GET', path: /^keys\/lane$/, run: show },
  { method: 'POST', path: /^keys\/lane\/unblock$/, run: unblock },
  { method: 'POST', path: /^keys\/lane\/drop$/, run: dropHead },
  { method: 'POST', path: /^keys\/lane\/drop-all$/, run: dropAll },
]

const mostMessages = 100

type Named = Pick<ParkedLane, 'scope' | 'lane'>

/** How an address and a form name a lane. Both are short: a long key stands in the lane as its digest. */
export function laneParams({ scope, lane }: Named): Params {
  return { scope, lane }
}

export function laneState({ nextMs, held }: ParkedLane): Html {
  return badge(nextMs === null ? 'blocked' : held ? 'running' : 'parked')
}

async function laneFrom({ ops }: Visit, { scope, lane }: Named): Promise<ParkedLane | undefined> {
  if (scope === '' || lane === '') return undefined
  const found = (await ops.store.parked?.({ scope, lane, limit: 1 })) ?? []
  return found.find((each) => each.scope === scope && each.lane === lane)
}

async function show(visit: Visit): Promise<View> {
  const { searchParams } = visit.url
  const lane = await laneFrom(visit, {
    scope: searchParams.get('scope') ?? '',
    lane: searchParams.get('lane') ?? '',
  })
  return lane === undefined ? notParked(visit) : view(visit, lane, null)
}

function notParked({ links }: Visit): View {
  return plainView(
    404,
    'This key is not parked',
    html`<p>Its messages were handled or dropped in the meantime.</p>
      <p><a href="${links.to('keys')}">All keys that stand still</a></p>`,
  )
}

async function view(visit: Visit, lane: ParkedLane, problem: Fragment): Promise<View> {
  const { ops, links, mayAct } = visit
  const messages = (await ops.store.parkedMessages?.(lane.scope, lane.lane, mostMessages)) ?? []
  const main = html`<p class="crumbs"><a href="${links.to('keys')}">Keys</a></p>
    <h1>Parked key ${name(lane.key, 80)} ${laneState(lane)}</h1>
    ${problem !== null && note('bad', problem)} ${hintOf(lane)}
    <div class="two">
      <div>${whatCard(visit, lane)}</div>
      <div>${mayAct && dropCard(visit, lane)}</div>
    </div>
    ${messagesCard(visit, lane, messages)}`
  const failed = problem !== null && { status: 409 }
  return { title: 'Parked key', tab: 'keys', live: problem === null, main, ...failed }
}

function hintOf({ nextMs }: ParkedLane): Fragment {
  if (nextMs !== null) return null
  return note(
    'warn',
    html`<p>
      <strong>This key waits for you.</strong> Its first message failed for good. Mend the cause, then let it run again;
      or edit, redrive or drop its dead letter.
    </p>`,
  )
}

function whatCard(visit: Visit, lane: ParkedLane): Html {
  const { times, links } = visit
  const { key, scope, messages, sinceMs, nextMs, held, attempts, error } = lane
  const body = facts([
    ['Pipeline', name(scope)],
    ['Lane', name(lane.lane)],
    ['Messages', counted(messages)],
    ['Since', times.when(sinceMs)],
    ['Tried again', nextMs === null ? 'when you say so' : held ? 'a worker runs it now' : times.when(nextMs)],
    ['Attempts', counted(attempts)],
    ['Error', error !== null && errorText('', error)],
    ['Dead letters', html`<a href="${links.to('letters', { key, pipeline: scope })}">of this key</a>`],
  ])
  return card('What waits', inside(body), { footer: headActs(visit, lane) })
}

function headActs(visit: Visit, lane: ParkedLane): Fragment {
  if (!visit.mayAct) return undefined
  if (lane.nextMs !== null) return html`<span>Its first message is tried again by itself.</span>`
  const values = laneParams(lane)
  return html`${button(visit, {
    to: 'keys/lane/unblock',
    values,
    label: 'Let its first message run again',
    tone: 'primary',
  })}${asking(visit, {
    to: 'keys/lane/drop',
    values: { ...values, claim: lane.claimKey },
    label: 'Drop its first message',
    tone: 'danger',
    why: 'That message will not be handled, and the others of the key go on. Its dead letter stays.',
  })}`
}

function dropCard(visit: Visit, lane: ParkedLane): Html {
  const { messages } = lane
  const form = html`<p>The messages of this key will not be handled. This cannot be taken back.</p>
    <form method="post" action="${visit.links.to('keys/lane/drop-all')}">
      ${hidden(visit, { ...laneParams(lane), messages: `${messages}` })}${typedNumber(messages, 'messages')}
      <div class="row"><button class="danger">Drop ${plural(messages, 'message')}</button></div>
    </form>`
  return card('Drop all', inside(form))
}

function messagesCard({ times, links }: Visit, { messages }: ParkedLane, shown: readonly ParkedMessage[]): Html {
  const columns: readonly Column<ParkedMessage>[] = [
    {
      name: 'Claim',
      kind: 'head',
      // What is stored as its digest cannot be asked for by it.
      cell: ({ claimKey: key, claimScope: scope }) =>
        key.startsWith('sha256:')
          ? name(key, 80)
          : html`<a href="${links.to('keys', { key, scope })}">${name(key, 80)}</a>`,
    },
    { name: 'Since', kind: 'tight', cell: ({ sinceMs }) => times.when(sinceMs) },
    { name: 'Attempts', kind: 'number', cell: ({ attempts }) => counted(attempts) },
    { name: 'Generation', kind: 'number', cell: ({ generation }) => generation },
    { name: 'Bytes', kind: 'number', cell: ({ bytes }) => counted(bytes) },
    { name: 'Error', kind: 'wide', cell: ({ error }) => error !== null && errorText('', error, 240) },
  ]
  const rows = table('Messages of this key, in order', columns, shown, html`<strong>No messages</strong>`)
  return card('Messages, in order', rows, {
    ...(messages > shown.length && { footer: `The first ${shown.length} of ${counted(messages)} are shown.` }),
  })
}

const namedBy = (fields: Fields): Named => ({ scope: fields.text('scope'), lane: fields.text('lane') })

async function unblock({ ops, user, links }: Visit, _: readonly string[], fields: Fields): Promise<Answer> {
  const { scope, lane } = namedBy(fields)
  const answer = (await ops.store.unblockLane?.(scope, lane, user.name)) ?? 'none'
  const done = { ok: 'lane-unblocked', held: 'lane-held', none: 'nothing' }[answer]
  return { goTo: links.to('keys', { done }) }
}

/** The message that was shown: another one that blocks the key by now stays. */
async function dropHead({ ops, user, links }: Visit, _: readonly string[], fields: Fields): Promise<Answer> {
  const { scope, lane } = namedBy(fields)
  const what = { claimKey: fields.text('claim') }
  const dropped = (await ops.store.dropParked?.(scope, lane, user.name, what)) ?? 0
  return { goTo: links.to('keys', dropped === 0 ? { done: 'nothing' } : { done: 'lane-dropped', n: `${dropped}` }) }
}

async function dropAll(visit: Visit, _: readonly string[], fields: Fields): Promise<Answer> {
  const { ops, user, links } = visit
  const lane = await laneFrom(visit, namedBy(fields))
  if (lane === undefined) return { goTo: links.to('keys', { done: 'nothing' }) }
  const { messages } = lane
  const problem = miscounted(fields, 'messages', messages, 'messages')
  if (problem !== undefined) return view(visit, lane, problem)
  const dropped = (await ops.store.dropParked?.(lane.scope, lane.lane, user.name, 'all')) ?? 0
  return { goTo: links.to('keys', dropped === 0 ? { done: 'lane-held' } : { done: 'lane-dropped', n: `${dropped}` }) }
}
