import { isHoldfastError, textOf } from '../core/errors.ts'
import { hasNetworkCode } from '../core/fault.ts'
import { schemaTrouble } from '../operations/schema.ts'
import type { SchemaState } from '../operations/store.ts'
import { html } from './html.ts'
import { plainView } from './layout.ts'
import type { View } from './visit.ts'

export interface Trouble {
  readonly view: View
  /** Whether the log of this process must say more than the page may: an error can quote a row. */
  readonly report: boolean
}

const unavailable = new Set(['57P01', '57P02', '57P03', '57P05', '53300', '08006', '08001', '08003', 'XX000'])
const pgSays = /^(Connection terminated|Client was closed|timeout exceeded when trying to connect|Query read timeout)/

/** What a person is told when a question or an act failed. */
export function troubleFrom(error: unknown, reference: string): Trouble {
  const code: unknown = typeof error === 'object' && error !== null ? Reflect.get(error, 'code') : undefined
  const { errorMessage } = textOf(error)
  if (isHoldfastError(error) && error.code === 'bad-option')
    return { report: false, view: plainView(400, 'That cannot be asked', html`<p>${errorMessage}</p>`) }
  if (isHoldfastError(error) && error.code === 'bad-schema')
    return {
      report: true,
      view: plainView(
        503,
        'The tables are not what they should be',
        html`<p>They are missing, of an older version, or not for the database role of this page. Nothing was done.</p>
          <p>
            <code>holdfast doctor</code> says more; <code>holdfast migrate apply</code> mends a schema that is older.
          </p>
          ${logged(reference)}`,
      ),
    }
  if (code === '57014')
    return {
      report: true,
      view: plainView(
        504,
        'The database took too long',
        html`<p>
            The question was stopped, so that it does not harm the service. Ask for less: a pipeline, a key, or a
            shorter time.
          </p>
          ${logged(reference)}`,
      ),
    }
  if (isAway(error, code, errorMessage))
    return {
      report: true,
      view: plainView(
        503,
        'The database does not answer',
        html`<p>Nothing can be shown or done now. Messages wait meanwhile: nothing is lost.</p>
          <p>Try again in a moment. <code>holdfast doctor</code> looks at the connection.</p>
          ${logged(reference)}`,
      ),
    }
  return {
    report: true,
    view: plainView(
      500,
      'Something failed here',
      html`<p>Look at what you wanted to change before you try again: it may be done.</p>
        ${logged(reference)}`,
    ),
  }
}

function isAway(error: unknown, code: unknown, message: string): boolean {
  return (
    (isHoldfastError(error) && error.code === 'unavailable') ||
    hasNetworkCode(error) ||
    (typeof code === 'string' && unavailable.has(code)) ||
    pgSays.test(message)
  )
}

const logged = (reference: string) =>
  html`<p class="dim">The log of this process says more, under the reference <code>${reference}</code>.</p>`

export function schemaView(state: SchemaState): View {
  const { newer } = state
  const trouble = schemaTrouble(state)
  const steps = (all: SchemaState['newer']) =>
    html`<ul>
      ${all.map(({ version, name }) => html`<li><code>${version}</code> ${name}</li>`)}
    </ul>`
  if (trouble === 'none')
    return plainView(
      503,
      'There are no tables yet',
      html`<p>
        This schema holds no tables of holdfast. <code>holdfast migrate apply</code> makes them, or
        <code>migrate(pool)</code> in your service.
      </p>`,
    )
  if (trouble === 'older')
    return plainView(
      503,
      'The schema is older than this page',
      html`<p>Nothing is read or done before these steps are applied: <code>holdfast migrate apply</code>.</p>
        ${steps(state.missing.filter(({ needed }) => needed))}`,
    )
  return plainView(
    503,
    'The schema is newer than this page',
    html`<p>
        These steps are of a later version of holdfast. Nothing is read or done: update the package that serves this
        page.
      </p>
      ${steps(newer)}`,
  )
}
