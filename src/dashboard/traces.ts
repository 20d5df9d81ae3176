import { html, type Html } from './html.ts'
import { name } from './widgets.ts'

/** A trace id, as a link where the address of the traces is known. */
export function traceLink(traceId: string, traceUrl: string | undefined): Html {
  if (traceUrl === undefined || !/^[0-9a-f]{32}$/.test(traceId)) return name(traceId)
  return html`<a href="${traceUrl.replaceAll('{trace}', traceId)}" rel="noreferrer">${traceId}</a>`
}
