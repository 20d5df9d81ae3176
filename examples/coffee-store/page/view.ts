import { coffees } from '../orders.ts'
import { serviceNames } from '../plan.ts'
import { grouped, seconds } from '../terminal.ts'
import type { LiveAudit } from './audit.ts'
import { chart } from './chart.ts'
import { html, type Html } from './html.ts'
import type { Look } from './store.ts'
import { switchNames, switchTexts, type Switches } from './switches.ts'
import type { Note, Tally } from './tally.ts'
import { windowSeconds } from './windows.ts'

/** Where more is to be seen; `null` where the embedded store has no such thing. */
export interface Links {
  readonly letters: string | null
  readonly jaeger: string | null
}

export interface Seen extends Look {
  readonly title: string
  readonly links: Links
  readonly tally: Tally
  readonly switches: Switches
  readonly audit: LiveAudit
  readonly clicksSent: number
}

export type Parts = Readonly<Record<'verdict' | 'shop' | 'chaos' | 'services' | 'windows' | 'notes' | 'audit', Html>>

/** The parts of the page that change. */
export function partsOf(seen: Seen): Parts {
  return {
    verdict: verdict(seen),
    shop: shop(seen),
    chaos: chaos(seen),
    services: services(seen),
    windows: chart(seen.clicks, Date.now()),
    notes: notes(seen),
    audit: audit(seen),
  }
}

export function pageOf(seen: Seen): string {
  const parts = partsOf(seen)
  const { letters, jaeger } = seen.links
  const text = html`<html lang="en">
    <head>
      <meta charset="utf-8" />
      <meta name="viewport" content="width=device-width, initial-scale=1" />
      <title>The coffee store</title>
      <link rel="stylesheet" href="/page.css" />
      <script src="/page.js" defer></script>
      <noscript><meta http-equiv="refresh" content="3" /></noscript>
    </head>
    <body>
      <header>
        <h1>The coffee store</h1>
        <p>${seen.title}</p>
        <p id="verdict" role="status">${parts.verdict}</p>
      </header>
      <nav aria-label="More to see">
        <a href="/events">Events</a> <a href="/metrics">Metrics</a>
        ${letters !== null && html`<a href="${letters}">Dead letters and outbox</a>`}
        ${jaeger !== null && html`<a href="${jaeger}">Traces</a>`}
      </nav>
      <main>
        <div class="side">
          <section class="shop">
            <h2>Shop</h2>
            <div id="shop">${parts.shop}</div>
            <h3>Look at, or order</h3>
            <ul class="menu">
              ${coffees.map(
                (name) =>
                  html`<li>
                    ${button(`/click/${name}`, name, `Look at ${name}`)}
                    ${button(`/order/${name}`, 'Order', `Order ${name}`)}
                  </li>`,
              )}
            </ul>
            ${button('/rush', 'Order 100 at once')}
          </section>
          <section>
            <h2>Break it</h2>
            <div id="chaos">${parts.chaos}</div>
          </section>
        </div>
        <div>
          <section class="services">
            <h2>Services</h2>
            <div id="services" class="scroll">${parts.services}</div>
          </section>
          <div class="both">
            <section>
              <h2>Looked at, in windows of ${windowSeconds} s that slide</h2>
              <div id="windows" class="scroll">${parts.windows}</div>
            </section>
            <section class="audit">
              <h2>Audit, from the ledger</h2>
              <div id="audit">${parts.audit}</div>
            </section>
          </div>
          <section class="notes">
            <h2>What happened</h2>
            <div id="notes">${parts.notes}</div>
          </section>
        </div>
      </main>
    </body>
  </html>`
  return `<!doctype html>\n${text.text}\n`
}

function verdict({ audit: { ok, lost, doubled, outOfOrder } }: Seen): Html {
  const found = `${grouped(lost)} lost, ${grouped(doubled)} doubled, ${grouped(outOfOrder)} out of order`
  return html`<span class="${ok ? 'good' : 'bad'}">${ok ? '✓' : '✗'} ${found}</span>`
}

function shop({ figures, inOutbox, clicksSent, tally }: Seen): Html {
  const facts = [
    ['open for', `${Math.floor(tally.openMs() / 1000)} s`],
    ['orders', grouped(figures.placed)],
    ['in the outbox', grouped(inOutbox)],
    ['looks', grouped(clicksSent)],
  ] as const
  return html`<dl>
    ${facts.map(
      ([name, value]) =>
        html`<div>
          <dt>${name}</dt>
          <dd>${value}</dd>
        </div>`,
    )}
  </dl>`
}

function chaos({ switches }: Seen): Html {
  return html`<ul class="switches">
    ${switchNames.map((name) => {
      const { label, look } = switchTexts[name]
      const isOn = switches.isOn(name)
      return html`<li>
        <form method="post" action="/switch/${name}/${isOn ? 'off' : 'on'}">
          <button id="switch-${name}" aria-pressed="${String(isOn)}">${label}</button>
        </form>
        <span class="${isOn ? 'bad' : 'dim'}">${isOn ? `on: ${look}` : look}</span>
      </li>`
    })}
  </ul>`
}

function services({ figures, tally }: Seen): Html {
  const names = ['service', 'state', 'waiting', 'handled', 'duplicates stopped', 'retries', 'dead letters', 'ms']
  return html`<table>
    <thead>
      <tr>
        ${names.map((name) => html`<th scope="col">${name}</th>`)}
      </tr>
    </thead>
    <tbody>
      ${serviceNames.map((name) => {
        const { effects, waiting, poisonDead, goodDead } = figures.services[name]
        const { duplicates, retries, ms } = tally.services[name]
        const state = tally.stateOf(name)
        return html`<tr id="service-${name}">
          <th scope="row">${name}</th>
          <td class="${state === 'runs' ? 'good' : state === 'killed' ? 'bad' : 'warn'}">${state}</td>
          ${[waiting, effects, duplicates, retries, poisonDead + goodDead, Math.round(ms)].map(
            (count) => html`<td>${grouped(count)}</td>`,
          )}
        </tr>`
      })}
    </tbody>
  </table>`
}

function notes({ tally, links }: Seen): Html {
  if (tally.notes.length === 0) return html`<p class="dim">Nothing yet: all goes well. Break something.</p>`
  return html`<ol>
    ${tally.notes.map((note) => html`<li><span class="dim">${seconds(note.atMs)}</span> ${noteText(note, links)}</li>`)}
  </ol>`
}

function noteText({ text, tone, message, trace }: Note, { letters, jaeger }: Links): Html {
  const letter = letters !== null && message !== undefined && `${letters}/message?id=${encodeURIComponent(message)}`
  const traced = jaeger !== null && trace !== undefined && `${jaeger}/trace/${trace}`
  return html`<span class="${tone}">${text}</span> ${letter !== false && html`<a href="${letter}">letter</a>`}
    ${traced !== false && html`<a href="${traced}">trace</a>`}`
}

function audit({ audit: { invariants } }: Seen): Html {
  return html`<table>
    ${invariants.map(
      ({ name, ok, found }) =>
        html`<tr>
          <th scope="row">${name}</th>
          <td class="${ok ? 'good' : 'bad'}">${ok ? '✓' : '✗'}</td>
          <td>${found}</td>
        </tr>`,
    )}
  </table>`
}

function button(action: string, label: string, name = label): Html {
  return html`<form method="post" action="${encodeURI(action)}"><button aria-label="${name}">${label}</button></form>`
}
