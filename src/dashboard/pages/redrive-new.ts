import type { RedriveOptions, RedrivePreview } from '../../dead-letter/store.ts'
import { filterFrom, filterFromQuery, filterNames, type Asked } from '../filter.ts'
import { cut, exact, html, type Fragment, type Html } from '../html.ts'
import { note } from '../layout.ts'
import type { Answer, Fields, Params, Route, View, Visit } from '../visit.ts'
import { card, counted, facts, field, hidden, inside, packed, plural, tiles, unpacked } from '../widgets.ts'

/** What a redrive would do, and the form that makes it. */
export const newRedriveRoutes: readonly Route[] = [
  { method: 'GET', path: /^redrives\/new$/, run: show },
  { method: 'POST', path: /^redrives$/, run: make },
]

/** Which letters, as an address says it. Without a filter it must say `all`: a mistake in an address is not a choice. */
export function chosen({ url, times }: Visit): Asked {
  const asked = filterFrom(url.searchParams, ['all'], times.nowMs)
  if (!asked.isEmpty || asked.problems.length > 0 || url.searchParams.get('all') === '1') return asked
  return { ...asked, problems: ['No letters were chosen.'] }
}

/** The letters again, as the form carried them. */
export function carried(fields: Fields, nowMs: number): Asked | undefined {
  const asked = filterFromQuery(unpacked(fields.text('which')), nowMs)
  return asked === undefined || asked.problems.length > 0 ? undefined : asked
}

export function nothingChosen({ links }: Visit, problems: readonly string[]): View {
  const said = problems.map((problem) => html`<p>${problem}</p>`)
  const main = html`<h1>Nothing to act on</h1>
    ${note('bad', said)}
    <p><a href="${links.to('letters')}">Dead letters</a></p>`
  return { title: 'Nothing to act on', tab: 'letters', status: 400, main }
}

export function chosenText({ filter, query }: Asked): Html {
  const entries = Object.entries(query).filter(([, value]) => value !== undefined && value !== '')
  if (entries.length === 0) return html`<p><strong>Every letter that is dead.</strong></p>`
  if (filter.ids?.length === 1 && entries.length === 1) return html`<p>Letter ${filter.ids[0]}.</p>`
  return facts(entries.map(([of, value]) => [labelOf(of), html`<code>${cut(value ?? '', 200)}</code>`] as const))
}

function labelOf(of: string): string {
  return Object.hasOwn(filterNames, of) ? filterNames[of as keyof typeof filterNames] : of
}

/** Asks for the number where more than one letter is meant, so that nobody acts on more than was seen. */
export function typedNumber(n: number, what: string): Fragment {
  if (n <= 1) return html`<input type="hidden" name="number" value="${n}" />`
  return field(
    `Type ${n}, the number of ${what}, to go on`,
    'number',
    html`<input
      type="text"
      id="number"
      name="number"
      inputmode="numeric"
      required
      autocomplete="off"
      aria-describedby="number-hint"
    />`,
    'as counted just now',
  )
}

/** What is wrong with the number that was typed for what the form showed, if anything. */
export function miscounted(fields: Fields, shown: 'matched' | 'messages', n: number, what: string): Html | undefined {
  if (fields.text(shown) !== `${n}`)
    return html`<p><strong>Nothing was done.</strong> The number changed while you looked: it is ${counted(n)} now.</p>`
  return mistyped(fields, n, what)
}

function mistyped(fields: Fields, n: number, what: string): Html | undefined {
  if (fields.text('number').replace(/[\s,.]/g, '') === `${n}`) return undefined
  return html`<p><strong>Nothing was done.</strong> Type ${n}, the number of ${what}.</p>`
}

interface Draft {
  readonly rate: string
  readonly canary: string
  readonly most: string
  readonly route: string
}
const first: Draft = { rate: '10', canary: '', most: '3', route: 'pipeline' }

async function show(visit: Visit): Promise<View> {
  const asked = chosen(visit)
  if (asked.problems.length > 0) return nothingChosen(visit, asked.problems)
  const preview = await visit.ops.store.letters.preview(asked.filter)
  return view(visit, asked, preview, { ...first, canary: preview.free > 5 ? '1' : '' }, null)
}

function view(visit: Visit, asked: Asked, preview: RedrivePreview, draft: Draft, problem: Fragment): View {
  const { links } = visit
  const one = asked.filter.ids?.length === 1 ? asked.filter.ids[0] : undefined
  const back = one === undefined ? links.to('letters', asked.query) : links.to(`letters/${one}`)
  const main = html`<p class="crumbs"><a href="${back}">${one === undefined ? 'Dead letters' : `Letter ${one}`}</a></p>
    <h1>Redrive ${plural(preview.free, 'letter')}</h1>
    <p class="lead">A dry run: this is what would happen now. Nothing has been sent.</p>
    ${problem !== null && note('bad', problem)} ${previewTiles(preview)}
    <div class="two">
      <div>${card('Which letters', inside(chosenText(asked)))}</div>
      <div>${preview.free === 0 ? nothingFree(preview) : formCard(visit, asked, preview, draft)}</div>
    </div>`
  return { title: 'New redrive', tab: 'redrives', main, ...(problem !== null && { status: 409 }) }
}

function previewTiles(preview: RedrivePreview): Html {
  const { matched, looked, keys, taken, guarded, completed, conflicts, free } = preview
  // Of very many letters only the first are looked at one by one.
  const among = looked < matched ? `, of the first ${counted(looked)}` : ''
  return tiles([
    { label: 'Match and are dead', value: matched, note: `of ${plural(keys, 'key')}${among}` },
    { label: 'Would be redriven', value: free, note: 'with what is below' },
    ...(taken > 0 ? [{ label: 'In another redrive', value: taken, note: 'left to it' }] : []),
    ...(completed > 0
      ? [{ label: 'Completed already', value: completed, note: `they will not run again${among}` }]
      : []),
    ...(guarded > 0
      ? [{ label: 'Redriven too often', value: guarded, note: `left to a person${among}`, tone: 'warn' as const }]
      : []),
    ...(conflicts > 0
      ? [{ label: 'Key of another content', value: conflicts, note: 'edit them first', tone: 'warn' as const }]
      : []),
  ])
}

function nothingFree({ matched, taken }: RedrivePreview): Html {
  const why = matched === 0 ? 'No letter that matches is dead.' : `${plural(taken, 'letter')} are in another redrive.`
  return card(
    'Nothing to redrive',
    html`<div class="empty">
      <strong>Nothing to redrive</strong>
      <p>${why}</p>
    </div>`,
  )
}

function formCard(visit: Visit, asked: Asked, { free }: RedrivePreview, draft: Draft): Html {
  if (!visit.mayAct) return card('Redrive', html`<div class="empty"><strong>You may look, not act</strong></div>`)
  const input = (id: keyof Draft, hint: boolean): Html =>
    html`<input
      type="text"
      id="${id}"
      name="${id}"
      inputmode="decimal"
      value="${exact(draft[id])}"
      autocomplete="off"
      ${hint && html` aria-describedby="${id}-hint"`}
    />`
  const route = (value: string, title: string, text: string): Html =>
    html`<div class="choice">
      <input
        type="radio"
        name="route"
        id="route-${value}"
        value="${value}"
        ${draft.route === value && html` checked`}
      /><label for="route-${value}"><strong>${title}</strong>${text}</label>
    </div>`
  return card(
    'How',
    inside(
      html`<form method="post" action="${visit.links.to('redrives')}">
        ${hidden(visit, { which: packed(asked.query), free: `${free}` })}
        <div class="fields">
          ${field('Letters a second', 'rate', input('rate', true), 'of all workers together; empty: no limit')}${field('Canary', 'canary', input('canary', true), 'so many letters first, then it pauses; empty: none')}${field('Most redrives of one letter', 'most', input('most', true), 'beyond that it is left to a person')}
        </div>
        <fieldset>
          <legend>Route</legend>
          ${route('pipeline', 'To the pipeline that failed', 'A worker in the service gives each letter to that pipeline, and to no other.')}${route('destination', 'To where it came from', 'Publishes to the origin. Other consumer groups handle it a second time, and readers of the newest value get an old one.')}
        </fieldset>
        <fieldset>${typedNumber(free, 'letters')}</fieldset>
        <div class="row"><button class="primary">Redrive ${plural(free, 'letter')}</button></div>
      </form>`,
    ),
  )
}

function draftFrom(fields: Fields): Draft {
  return {
    rate: fields.text('rate').trim(),
    canary: fields.text('canary').trim(),
    most: fields.text('most').trim(),
    route: fields.text('route'),
  }
}

/** The options, or what is wrong with them. */
function optionsFrom({ rate, canary, most, route }: Draft): RedriveOptions | string {
  if (route !== 'pipeline' && route !== 'destination') return 'Choose a route.'
  const perSecond = rate === '' ? undefined : Number(rate)
  if (perSecond !== undefined && !(perSecond >= 0.001 && perSecond <= 1_000_000))
    return 'Letters a second: a number from 0.001 to 1,000,000, or nothing.'
  const whole = (text: string): boolean => /^[1-9]\d{0,6}$/.test(text)
  if (canary !== '' && !whole(canary)) return 'Canary: a whole number of at least 1, or nothing.'
  if (!whole(most)) return 'Most redrives of one letter: a whole number of at least 1.'
  return {
    route,
    maxRedrives: Number(most),
    ...(perSecond !== undefined && { perSecond }),
    ...(canary !== '' && { canary: Number(canary) }),
  }
}

async function make(visit: Visit, _: readonly string[], fields: Fields): Promise<Answer> {
  const { ops, user, links, times } = visit
  const asked = carried(fields, times.nowMs)
  if (asked === undefined) return nothingChosen(visit, ['The form does not say which letters.'])
  const draft = draftFrom(fields)
  const options = optionsFrom(draft)
  const preview = await ops.store.letters.preview(asked.filter, typeof options === 'string' ? {} : options)
  const again = (problem: Fragment): View => view(visit, asked, preview, draft, problem)
  if (typeof options === 'string') return again(html`<p><strong>Nothing was done.</strong> ${options}</p>`)
  const { free } = preview
  if (fields.text('free') !== `${free}`)
    return again(
      html`<p>
        <strong>Nothing was done.</strong> It was ${cut(fields.text('free'), 12)} letters when you looked, and is
        ${counted(free)} now.
      </p>`,
    )
  const problem = mistyped(fields, free, 'letters')
  if (problem !== undefined) return again(problem)
  const made = await ops.store.letters.create(asked.filter, options, user.name)
  if (made === undefined) return again(html`<p><strong>Nothing was done.</strong> Others took these letters.</p>`)
  return { goTo: links.to(`redrives/${made.id}`, { done: 'redrive-made' } satisfies Params) }
}
