import type { Letter, LetterEdit } from '../../dead-letter/store.ts'
import { cut, exact, html, type Fragment, type Html } from '../html.ts'
import { note } from '../layout.ts'
import type { Answer, Fields, Route, View, Visit } from '../visit.ts'
import { button, card, field, hidden, inside, plural } from '../widgets.ts'
import { headerValue } from './letter.ts'
import { missing } from './missing.ts'

const mostBytes = 16 * 1024 * 1024

/** Makes a new letter with another body or other headers. */
export const editRoutes: readonly Route[] = [
  { method: 'GET', path: /^letters\/(\d{1,18})\/edit$/, run: (visit, [id = '']) => open(visit, id, false) },
  { method: 'POST', path: /^letters\/(\d{1,18})\/edit\/reveal$/, run: (visit, [id = '']) => open(visit, id, true) },
  { method: 'POST', path: /^letters\/(\d{1,18})\/edit$/, maxBytes: mostBytes, run: save },
]

// A larger text makes browsers slow: it is edited as a file.
const longestText = 256 * 1024
const mostHeaders = 100
const newHeaders = 3

interface Draft {
  readonly body?: string | undefined
  readonly problem?: Fragment
}

async function open(visit: Visit, id: string, reveal: boolean): Promise<View> {
  const { ops, user } = visit
  const letter = await ops.store.letters.letter(id)
  if (letter === undefined) return missing(visit, 'letter', id)
  if (reveal) await ops.store.letters.note({ by: user.name, act: 'reveal', letter: id })
  return view(visit, letter, reveal ? { body: editable(letter.body) } : {})
}

/** A body as a field of a form can hold it and bring it back byte for byte; `undefined` where it cannot. */
export function editable(body: Uint8Array | null): string | undefined {
  if (body === null || body.length > longestText) return undefined
  const text = Buffer.from(body).toString()
  if (!Buffer.from(text).equals(Buffer.from(body))) return undefined
  // HTML holds neither NUL nor other control characters, and browsers make every line end the same.
  return /[\u0000-\u0008\u000b\u000c\u000e-\u001f]|\r(?!\n)/.test(text) || (/\r\n/.test(text) && /(?<!\r)\n/.test(text))
    ? undefined
    : text
}

/** What a field brought back, with the line ends of the body that it stands for. */
export function fromField(text: string, old: Uint8Array | null): Buffer {
  const wasWindows = old !== null && Buffer.from(old).includes('\r\n')
  return Buffer.from(wasWindows ? text.replace(/\r?\n/g, '\r\n') : text.replaceAll('\r\n', '\n'))
}

function view(visit: Visit, letter: Letter, draft: Draft): View {
  const { links, mayAct } = visit
  const { id, state, settled } = letter
  const crumbs = html`<p class="crumbs">
    <a href="${links.to('letters')}">Dead letters</a> › <a href="${links.to(`letters/${id}`)}">Letter ${id}</a>
  </p>`
  const title = `Edit letter ${id}`
  if (state !== 'dead')
    return {
      title,
      tab: 'letters',
      status: 409,
      main: html`${crumbs}
        <h1>Letter ${id} is ${state}</h1>
        <p>Only a dead letter can be edited, and only once.</p>`,
    }
  if (!mayAct)
    return {
      title,
      tab: 'letters',
      status: 403,
      main: html`${crumbs}
        <h1>You may look, not edit</h1>`,
    }
  const form = html`<form method="post" action="${links.to(`letters/${id}/edit`)}" enctype="multipart/form-data">
    ${hidden(visit, { settled: `${settled}` })} ${card('Body', inside(bodyFields(letter, draft)))}
    ${card('Headers', inside(headerFields(letter)), { aside: 'what is left as it is stays as it is' })}
    <div class="row">
      <button class="primary">Make the new letter</button><a href="${links.to(`letters/${id}`)}">Cancel</a>
    </div>
  </form>`
  const main = html`${crumbs}
    <h1>${title}</h1>
    <p class="lead">
      Editing makes a new letter with a new message id, and ends this one. Nothing is sent: redrive the new letter
      afterwards.
    </p>
    ${draft.problem !== undefined && note('bad', draft.problem)}
    ${draft.body === undefined && revealCard(visit, letter)}${form}`
  return { title, tab: 'letters', main, ...(draft.problem !== undefined && { status: 409 }) }
}

function revealCard(visit: Visit, { id, body }: Letter): Fragment {
  if (body === null) return null
  if (editable(body) === undefined)
    return note(
      'plain',
      html`<p>
        This body of ${plural(body.length, 'byte')} cannot be edited as text here. Download it from its page, change it,
        and choose the file below.
      </p>`,
    )
  return html`<section class="card" aria-label="Reveal">
    <div class="in row">
      ${button(visit, { to: `letters/${id}/edit/reveal`, label: 'Reveal the body, to edit it as text' })}<span
        class="dim"
        >That is written to the operator log.</span
      >
    </div>
  </section>`
}

function bodyFields({ body }: Letter, { body: text }: Draft): Html {
  const choice = (value: string, label: string, checked: boolean): Html =>
    html`<div class="choice">
      <input type="radio" name="body" id="body-${value}" value="${value}" ${checked && html` checked`} /><label
        for="body-${value}"
        >${label}</label
      >
    </div>`
  // The parser drops the first line end inside a textarea.
  const area = html`<label for="text">Text</label
    ><textarea id="text" name="text" spellcheck="false" autocomplete="off">
${text !== undefined && exact(text)}</textarea>`
  return html`<fieldset>
    <legend class="sr">The body of the new letter</legend>
    ${choice('same', body === null ? 'No body, as it is' : `As it is: ${plural(body.length, 'byte')}`, text === undefined)}${choice('text', 'This text', text !== undefined)}${area}${choice('file', 'This file, byte for byte', false)}<input
      type="file"
      name="file"
      aria-label="File with the new body"
    />${body !== null && choice('none', 'No body: a tombstone', false)}
  </fieldset>`
}

/** Ours say what happened to the letter: they are no part of the message. */
function editableHeaders(headers: Letter['headers']): readonly string[] {
  return Object.keys(headers)
    .filter((name) => !name.startsWith('holdfast-'))
    .slice(0, mostHeaders)
}

function headerFields({ headers }: Letter): Html {
  const names = editableHeaders(headers)
  const rows = names.map((of, at) => {
    const value = headers[of]
    // A field of one line drops line ends, and HTML holds no control characters: such a value is kept or removed.
    const plain =
      typeof value === 'string' && value.length <= 4000 && !/[\u0000-\u001f\u007f]/.test(value) && value.isWellFormed()
    const input = plain
      ? html`<input
          type="text"
          id="header-${at}"
          name="header-${at}"
          value="${exact(value)}"
          autocomplete="off"
          spellcheck="false"
        />`
      : headerValue(headers, of)
    return html`<div>
      ${plain ? html`<label for="header-${at}">${cut(of, 120)}</label>` : html`<span class="label-like">${cut(of, 120)}</span>`}${input}
      <div class="choice">
        <input type="checkbox" id="remove-${at}" name="remove-${at}" value="1" /><label for="remove-${at}"
          >Remove<span class="sr"> the header ${cut(of, 120)}</span></label
        >
      </div>
    </div>`
  })
  const added = Array.from(
    { length: newHeaders },
    (_, at) =>
      html`<div class="fields">
        ${field(`Name of new header ${at + 1}`, `new-name-${at}`, html`<input type="text" id="new-name-${at}" name="new-name-${at}" autocomplete="off" spellcheck="false" />`)}${field(`Value of new header ${at + 1}`, `new-value-${at}`, html`<input type="text" id="new-value-${at}" name="new-value-${at}" autocomplete="off" spellcheck="false" />`)}
      </div>`,
  )
  return html`<div class="fields">${rows}</div>
    <details>
      <summary>Add headers</summary>
      ${added}
    </details>`
}

function headersFrom({ headers }: Letter, fields: Fields): Record<string, string | null> {
  const changed: [string, string | null][] = []
  for (const [at, of] of editableHeaders(headers).entries()) {
    if (fields.text(`remove-${at}`) === '1') changed.push([of, null])
    else if (fields.has(`header-${at}`) && fields.text(`header-${at}`) !== headers[of])
      changed.push([of, fields.text(`header-${at}`)])
  }
  for (let at = 0; at < newHeaders; at++) {
    const of = fields.text(`new-name-${at}`).trim()
    if (of !== '') changed.push([of, fields.text(`new-value-${at}`)])
  }
  // Put together from pairs: an object would lose a name like __proto__.
  return Object.fromEntries(changed)
}

async function bodyFrom({ body }: Letter, fields: Fields): Promise<LetterEdit['body'] | string> {
  const choice = fields.text('body')
  if (choice === 'none') return null
  if (choice === 'text') return fromField(fields.text('text'), body)
  const file = await fields.file('file')
  if (choice === 'file') return file ?? 'Choose a file.'
  // Without a script nothing moves the choice to what was filled in: it must not be lost.
  return file === undefined ? undefined : 'A file was chosen, but not that it is the new body: choose one of the two.'
}

function areSame(a: Uint8Array | null, b: Uint8Array | null): boolean {
  return a === null || b === null ? a === b : Buffer.from(a).equals(Buffer.from(b))
}

async function save(visit: Visit, [id = '']: readonly string[], fields: Fields): Promise<Answer> {
  const { ops, user, links } = visit
  const { letters } = ops.store
  const letter = await letters.letter(id)
  if (letter === undefined) return missing(visit, 'letter', id)
  const body = await bodyFrom(letter, fields)
  const again = (problem: string): View =>
    view(visit, letter, {
      body: fields.text('body') === 'text' ? fields.text('text') : undefined,
      problem: html`<p><strong>Nothing was done.</strong> ${problem}</p>`,
    })
  if (typeof body === 'string') return again(body)
  const headers = headersFrom(letter, fields)
  const isSame = body === undefined || areSame(body, letter.body)
  if (isSame && Object.keys(headers).length === 0) return again('Nothing is different from what the letter has.')
  // The number that the form was made with: an edit or a send since then wins.
  const settled = Number(fields.text('settled'))
  const edit: LetterEdit = { headers, ...(!isSame && { body }) }
  const made = Number.isSafeInteger(settled) ? await letters.edit(id, settled, edit, user.name) : undefined
  if (made === undefined) return { goTo: links.to(`letters/${id}`, { done: 'nothing' }) }
  return { goTo: links.to(`letters/${made}`, { done: 'edited' }) }
}
