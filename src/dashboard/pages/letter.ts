import type { Letter } from '../../dead-letter/store.ts'
import type { ShownLetter } from '../../operations/operations.ts'
import type { Happening } from '../../operations/explain.ts'
import { breakable, cut, html, type Fragment, type Html } from '../html.ts'
import { note } from '../layout.ts'
import type { Answer, Route, View, Visit } from '../visit.ts'
import { asking, badge, button, card, counted, facts, inside, lines, name, plural, table } from '../widgets.ts'
import { traceLink } from '../traces.ts'
import { missing } from './missing.ts'
import { timeline } from './timeline.ts'

export const letterRoutes: readonly Route[] = [
  { method: 'GET', path: /^letters\/(\d{1,18})$/, run: (visit, [id = '']) => show(visit, id, false) },
  { method: 'POST', path: /^letters\/(\d{1,18})\/reveal$/, run: (visit, [id = '']) => show(visit, id, true) },
  { method: 'POST', path: /^letters\/(\d{1,18})\/body$/, run: (visit, [id = '']) => download(visit, id) },
]

const longestBody = 100_000
const longestText = 4000
const mostHeaders = 200

/** A letter without its body. */
type Known = ShownLetter['letter']

async function show(visit: Visit, id: string, reveal: boolean): Promise<View> {
  const { ops, user, links } = visit
  const shown = await ops.show(id, { reveal, by: user.name })
  if (shown === undefined) return missing(visit, 'letter', id)
  const { letter } = shown
  const { happenings } = await ops.explain(letter.messageId)
  const group = letter.group === '' ? null : links.to('letters', { group: letter.group, pipeline: letter.pipeline })
  const main = html`<p class="crumbs">
      <a href="${links.to('letters')}">Dead letters</a
      >${group !== null && html` › <a href="${group}">Group of ${cut(letter.errorName, 60)}</a>`}
    </p>
    <h1>Letter ${id} ${badge(letter.state)}</h1>
    ${stateNote(visit, letter)} ${actsCard(visit, letter)}
    <div class="two">
      <div>${errorCard(letter)}${messageCard(visit, letter)}</div>
      <div>${historyCard(visit, letter, happenings)}</div>
    </div>
    ${bodyCard(visit, shown)}${headersCard(letter)}`
  return { title: `Letter ${id}`, tab: 'letters', main }
}

async function download({ ops, user, ...visit }: Visit, id: string): Promise<Answer> {
  const body = await ops.body(id, user.name)
  if (body === undefined) return missing({ ops, user, ...visit }, 'letter', id)
  return { bytes: body ?? new Uint8Array(), type: 'application/octet-stream', fileName: `letter-${id}.bin` }
}

function stateNote({ links }: Visit, { state, replacedBy, claimState, reason, replaces }: Known): Fragment {
  if (state === 'replaced')
    return note(
      'plain',
      html`<p>
        This letter was edited:
        ${replacedBy === null ? 'a new letter' : html`<a href="${links.to(`letters/${replacedBy}`)}">letter ${replacedBy}</a>`}
        took its place.
      </p>`,
    )
  if (state === 'dropped')
    return note('plain', html`<p>An operator dropped this letter. Its message will not run again.</p>`)
  if (state === 'dead' && claimState === 'completed')
    return note(
      'plain',
      html`<p>The key of this message is completed: it was handled otherwise. A redrive will only find that out.</p>`,
    )
  if (state === 'dead' && reason === 'conflict' && replaces === null)
    return note('warn', html`<p>Another content has the key of this message. It can run only after an edit.</p>`)
  return null
}

function actsCard(visit: Visit, { id, state, redrives }: Known): Fragment {
  if (!visit.mayAct) return null
  const { links } = visit
  const acts: Fragment[] = []
  if (state === 'dead')
    acts.push(
      html`<a class="button primary" href="${links.to('redrives/new', { ids: id })}">Redrive…</a>`,
      html`<a class="button" href="${links.to(`letters/${id}/edit`)}">Edit…</a>`,
      asking(visit, {
        to: 'letters/drop',
        values: { letter: id },
        label: 'Drop',
        tone: 'danger',
        why: 'The message will not run again. Restoring the letter takes this back, until it is cleaned up.',
      }),
    )
  if (state === 'redriving')
    acts.push(
      asking(visit, {
        to: `letters/${id}/reopen`,
        label: 'Reopen',
        why: 'Makes the letter dead again, though its last redrive has no result. The delivery that was sent may still run: the claim of its key decides, and a late failure changes nothing.',
      }),
    )
  if (state === 'dropped') acts.push(button(visit, { to: `letters/${id}/restore`, label: 'Restore', tone: 'primary' }))
  if (acts.length === 0) return null
  const told = redrives > 0 && html`<span class="dim">redriven ${plural(redrives, 'time')} so far</span>`
  return html`<section class="card" aria-label="Acts"><div class="in row">${acts}${told}</div></section>`
}

function errorCard(letter: Known): Html {
  const { errorName, errorCode, errorMessage, errorStack, reason, attempts } = letter
  return card(
    'Error',
    inside(
      html`<p class="error-name">
          ${cut(errorName, 200, breakable)}${errorCode !== null && html` <span class="dim">(${errorCode})</span>`}
        </p>
        ${lines('Text of the error', cut(errorMessage, longestText))}
        ${
          errorStack !== null &&
          html`<details>
            <summary>Stack</summary>
            ${lines('Stack of the error', cut(errorStack, longestText * 4))}
          </details>`
        }
        <p class="dim">${reasonText(reason)}, after ${plural(attempts, 'attempt')}.</p>`,
    ),
  )
}

const reasonTexts: Readonly<Record<string, string>> = {
  permanent: 'The handler said that it can never succeed',
  attempts: 'All attempts failed',
  undecodable: 'The body could not be decoded',
  conflict: 'Its key belongs to another content',
  crashed: 'The process died while it handled the message, again and again',
  unhandled: 'The handler threw, and nothing retried it',
}

function reasonText(reason: string): Fragment {
  return reasonTexts[reason] ?? html`Reason ${reason}`
}

function messageCard({ links, times, traceUrl }: Visit, letter: Known): Html {
  const { origin, traceId, claimKey, claimScope, claimState } = letter
  const place = [
    origin.partition !== null && `partition ${origin.partition}`,
    origin.position !== null && `position ${origin.position}`,
  ]
  const others = html`<a href="${links.to('message', { letter: letter.id })}">What happened to it</a>`
  return card(
    'Message',
    inside(
      facts([
        ['Message id', html`${name(letter.messageId, longestText)} · ${others}`],
        ['Key', name(letter.key, longestText)],
        ['Type', letter.type !== '' && name(letter.type)],
        ['Pipeline', name(letter.pipeline)],
        [
          'From',
          html`${name(origin.destination)}
            <span class="dim"
              >${[origin.system, ...place].filter((part) => part !== false && part !== '').join(', ')}</span
            >`,
        ],
        ['Consumer group', origin.group !== null && name(origin.group)],
        ['Produced', letter.producedMs > 0 && times.when(letter.producedMs)],
        ['First died', times.when(letter.firstMs)],
        ['Last died', letter.deaths > 1 && html`${times.when(letter.deadMs)}, ${counted(letter.deaths)} times in all`],
        [
          'Claim',
          claimKey !== null &&
            html`${name(claimKey, longestText)} in ${name(claimScope)}:
            ${claimState === null ? 'forgotten, or kept elsewhere' : badge(claimState)}`,
        ],
        ['Trace', traceId !== null && traceLink(traceId, traceUrl)],
        ['Subject', letter.subject !== null && name(letter.subject)],
        [
          'Replaces',
          letter.replaces !== null &&
            html`<a href="${links.to(`letters/${letter.replaces}`)}">letter ${letter.replaces}</a>, by an edit`,
        ],
      ]),
    ),
  )
}

function historyCard(visit: Visit, { messageId }: Known, happenings: readonly Happening[]): Html {
  return card('What happened', inside(timeline(visit, happenings)), {
    aside: html`to message ${name(messageId, 40)}`,
  })
}

function bodyCard(visit: Visit, { letter, bodyBytes, body, revealed }: ShownLetter): Html {
  const { id } = letter
  const size = bodyBytes === null ? 'no body: a tombstone' : plural(bodyBytes, 'byte')
  const told = revealed ? 'shown as it is, which was written to the operator log' : 'values are masked'
  const text =
    bodyBytes === null
      ? inside(html`<p class="dim">This message has no body: it is a tombstone.</p>`)
      : inside(lines('Body', cut(body, longestBody)))
  const acts =
    visit.mayAct &&
    bodyBytes !== null &&
    html`${!revealed && button(visit, { to: `letters/${id}/reveal`, label: 'Reveal the body' })}${button(visit, { to: `letters/${id}/body`, label: 'Download the body' })}<span
        >Both are written to the operator log.</span
      >`
  return card('Body', text, {
    aside: bodyBytes === null ? undefined : `${size}, ${told}`,
    ...(acts !== false && { footer: acts }),
  })
}

function headersCard({ headers }: Known): Html {
  const names = Object.keys(headers)
  const rows = table<string>(
    'Headers',
    [
      { name: 'Name', kind: 'head', cell: (each) => html`<code>${cut(each, 300, breakable)}</code>` },
      { name: 'Value', kind: 'wide', cell: (each) => headerValue(headers, each) },
    ],
    names.slice(0, mostHeaders),
    html`<strong>No headers</strong>`,
  )
  const more = names.length - mostHeaders
  return card('Headers', rows, {
    aside: plural(names.length, 'header'),
    ...(more > 0 && { footer: `${plural(more, 'header')} more: the command dlq show prints them all.` }),
  })
}

export function headerValue(headers: Letter['headers'], of: string): Html {
  const value = headers[of] ?? ''
  if (typeof value === 'string') return html`<code>${cut(value, 2000)}</code>`
  if (value instanceof Uint8Array) return bytesOf(value)
  return html`<span class="dim">${plural(value.length, 'value')}</span
    ><br />${value.slice(0, 20).map((each) => html`${typeof each === 'string' ? html`<code>${cut(each, 500)}</code>` : bytesOf(each)}<br />`)}`
}

function bytesOf(value: Uint8Array): Html {
  return html`<code>${Buffer.from(value.subarray(0, 256)).toString('hex')}</code>
    <span class="dim">${plural(value.length, 'byte')} that are no text</span>`
}
