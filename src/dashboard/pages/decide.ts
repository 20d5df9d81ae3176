import { html, type Fragment } from '../html.ts'
import { note } from '../layout.ts'
import type { Asked } from '../filter.ts'
import type { Answer, Fields, Route, View, Visit } from '../visit.ts'
import { card, hidden, inside, packed, plural } from '../widgets.ts'
import { numberOf } from './missing.ts'
import { carried, chosen, chosenText, miscounted, nothingChosen, typedNumber } from './redrive-new.ts'

/** Giving letters up, and taking that back. */
export const decisionRoutes: readonly Route[] = [
  { method: 'GET', path: /^letters\/drop$/, run: ask },
  { method: 'POST', path: /^letters\/drop$/, run: drop },
  { method: 'POST', path: /^letters\/(\d{1,18})\/(restore|reopen)$/, run: takeBack },
]

async function ask(visit: Visit): Promise<View> {
  const asked = chosen(visit)
  if (asked.problems.length > 0) return nothingChosen(visit, asked.problems)
  const { matched } = await visit.ops.store.letters.preview(asked.filter)
  return view(visit, asked, matched, null)
}

function view(visit: Visit, asked: Asked, matched: number, problem: Fragment): View {
  const { links, mayAct } = visit
  const form = html`<form method="post" action="${links.to('letters/drop')}">
    ${hidden(visit, { which: packed(asked.query), matched: `${matched}` })}${typedNumber(matched, 'letters')}<br />
    <div class="row">
      <button class="danger">Drop ${plural(matched, 'letter')}</button
      ><a href="${links.to('letters', asked.query)}">Back</a>
    </div>
  </form>`
  const main = html`<p class="crumbs"><a href="${links.to('letters', asked.query)}">Dead letters</a></p>
    <h1>Drop ${plural(matched, 'letter')}</h1>
    <p class="lead">Their messages will not run again. Restoring a letter takes this back, until it is cleaned up.</p>
    ${problem !== null && note('bad', problem)} ${card('Which letters', inside(chosenText(asked)))}
    ${matched === 0 ? card('Nothing to drop', html`<div class="empty"><strong>No letter that matches is dead</strong></div>`) : mayAct && card('Drop', inside(form))}`
  return { title: 'Drop letters', tab: 'letters', main, ...(problem !== null && { status: 409 }) }
}

async function drop(visit: Visit, _: readonly string[], fields: Fields): Promise<Answer> {
  const { ops, user, links, times } = visit
  const { letters } = ops.store
  const one = numberOf(fields.text('letter'))
  if (one !== null) {
    const dropped = await letters.drop({ ids: [one] }, user.name)
    return {
      goTo: links.to(`letters/${one}`, dropped.length === 0 ? { done: 'nothing' } : { done: 'dropped', n: '1' }),
    }
  }
  const asked = carried(fields, times.nowMs)
  if (asked === undefined) return nothingChosen(visit, ['The form does not say which letters.'])
  const { matched } = await letters.preview(asked.filter)
  const problem = miscounted(fields, 'matched', matched, 'letters')
  if (problem !== undefined) return view(visit, asked, matched, problem)
  const dropped = await letters.drop(asked.filter, user.name)
  return { goTo: links.to('letters', { state: 'dropped', done: 'dropped', n: `${dropped.length}` }) }
}

async function takeBack(visit: Visit, [id = '', act = '']: readonly string[]): Promise<Answer> {
  const { ops, user, links } = visit
  const verb = act === 'restore' ? 'restore' : 'reopen'
  const done = await ops.store.letters[verb]([id], user.name)
  const said = done.length === 0 ? 'nothing' : verb === 'restore' ? 'restored' : 'reopened'
  return { goTo: links.to(`letters/${id}`, { done: said }) }
}
