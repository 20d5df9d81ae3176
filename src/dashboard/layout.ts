import { assets } from './assets.ts'
import { html, type Fragment, type Html } from './html.ts'
import type { Links, Operator, Tab, View } from './visit.ts'

const tabs: readonly (readonly [tab: Tab, path: string, label: string])[] = [
  ['overview', '', 'Overview'],
  ['letters', 'letters', 'Dead letters'],
  ['redrives', 'redrives', 'Redrives'],
  ['outbox', 'outbox', 'Outbox'],
  ['keys', 'keys', 'Keys'],
  ['message', 'message', 'Message'],
  ['log', 'log', 'Operator log'],
]

export interface Frame {
  readonly links: Links
  /** `undefined` where nobody is known: then there is nothing to go to either. */
  readonly user: Operator | undefined
  readonly mayAct: boolean
  readonly taken: Fragment
  /** A line above the page, such as what an act did. */
  readonly notice: Fragment
  /** The address of this page, to ask again without a script. */
  readonly self: string
}

/** The whole document round a page. */
export function documentOf(view: View, frame: Frame): string {
  const { links, user, mayAct, taken, notice, self } = frame
  const role = user?.role === 'operator' && !mayAct ? 'operator, read only' : user?.role
  return html`<!doctype html>
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>${view.title} · holdfast</title>
        <link rel="stylesheet" href="${links.base}${assets.style.path}" />
        <script src="${links.base}${assets.script.path}" defer></script>
      </head>
      <body>
        <a class="skip" href="#main">Skip to the content</a>
        <header class="top">
          <div>
            <a class="brand" href="${links.base}">holdfast</a>${
              user !== undefined &&
              html`<nav aria-label="Main">
                  <ul>
                    ${tabs.map(
                      ([tab, path, label]) =>
                        html`<li>
                          <a href="${links.to(path)}" ${tab === view.tab && html` aria-current="page"`}>${label}</a>
                        </li>`,
                    )}
                  </ul>
                </nav>
                <p class="who"><span>${user.name.slice(0, 80)}</span> <span class="badge">${role}</span></p>`
            }
          </div>
        </header>
        ${
          user !== undefined &&
          html`<div class="updates" data-updates>
            <span data-status role="status"></span><span>As of ${taken}</span> <a href="${self}">Refresh</a>
          </div>`
        }
        <main id="main" tabindex="-1" ${view.live === true && html` data-live`}>${notice}${view.main}</main>
      </body>
    </html> `.text
}

export function note(tone: 'good' | 'warn' | 'bad' | 'plain', text: Fragment): Html {
  return html`<div class="note ${tone}" role="${tone === 'bad' ? 'alert' : 'status'}">${text}</div>`
}

/** A page that only says something, and what to do next. */
export function plainView(status: number, title: string, text: Fragment): View {
  return {
    title,
    tab: 'none',
    status,
    main: html`<h1>${title}</h1>
      ${text}`,
  }
}
