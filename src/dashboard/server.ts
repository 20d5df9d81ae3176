import type { Clock } from '../core/clock.ts'
import { HoldfastError } from '../core/errors.ts'
import { calledSafely } from '../core/report.ts'
import type { Operations } from '../operations/operations.ts'
import { schemaTrouble } from '../operations/schema.ts'
import type { CircuitRecord, SchemaState } from '../operations/store.ts'
import { accessOf, type Access, type AccessOptions, type Auth } from './access.ts'
import { noFields, readFields } from './fields.ts'
import { html } from './html.ts'
import { documentOf, plainView } from './layout.ts'
import { noticeOf } from './notices.ts'
import { assetResponse, downloadResponse, pageResponse, redirect } from './responses.ts'
import { routes } from './routes.ts'
import { formTokenOf, isFromOwnPage, isSame, newSecret } from './security.ts'
import { times } from './times.ts'
import { schemaView, troubleFrom } from './trouble.ts'
import {
  linksOf,
  type Answer,
  type Fields,
  type Links,
  type Operator,
  type Route,
  type View,
  type Visit,
} from './visit.ts'

export interface PageFailure {
  /** What the page shows to the person, to find this failure. */
  readonly reference: string
  readonly error: unknown
}

export interface PageSettings {
  readonly ops: Operations
  readonly auth: Auth | undefined
  readonly loopback: { readonly token: string; readonly name: string } | undefined
  /** Ends with a slash. */
  readonly base: string
  readonly readOnly: boolean
  readonly origins: readonly string[] | undefined
  readonly circuits: (() => Promise<readonly CircuitRecord[]>) | undefined
  readonly traceUrl: string | undefined
  readonly timeZone: string
  readonly answerMs: number
  readonly onError: (failure: PageFailure) => void
  readonly clock: Clock
}

export function pageServer(settings: PageSettings): (request: Request) => Promise<Response> {
  const server = new PageServer(settings)
  return (request) => server.answer(request)
}

type Known = Extract<Access, { user: Operator }>
const schemaMs = 5000
const formBytes = 1024 * 1024

class PageServer {
  readonly #settings: PageSettings
  readonly #links: Links
  readonly #access: AccessOptions
  #schema: { readonly state: Promise<SchemaState>; readonly untilMs: number } | undefined

  constructor(settings: PageSettings) {
    this.#settings = settings
    const { base, auth, loopback, origins } = settings
    this.#links = linksOf(base)
    this.#access = {
      auth,
      token: loopback?.token,
      localUser: { name: loopback?.name ?? 'local', role: 'operator' },
      origins,
      cookie: { path: base, secure: origins?.every((origin) => origin.startsWith('https:')) ?? false },
    }
  }

  async answer(request: Request): Promise<Response> {
    const url = new URL(request.url)
    const isGet = request.method === 'GET' || request.method === 'HEAD'
    const path = this.#pathOf(url)
    // They hold nothing of anybody, and the pages that refuse need them too.
    const asset = isGet && path !== undefined ? assetResponse(path) : undefined
    if (asset !== undefined) return asset
    let known: Known | undefined
    try {
      const response = await this.#inTime(async () => {
        const access = await accessOf(request, url, this.#access)
        if ('response' in access) return access.response
        if ('enter' in access) return redirect(access.enter, { 'set-cookie': access.setCookie })
        if ('refused' in access) return this.#page(url, access.refused, undefined, access.headers)
        known = access
        return this.#visit(request, url, path, access)
      })
      return request.method === 'HEAD' ? new Response(null, response) : response
    } catch (error) {
      const reference = newSecret().slice(0, 8)
      const { view, report } = troubleFrom(error, reference)
      if (report) calledSafely('operatorPage onError', this.#settings.onError, undefined, { reference, error })
      return this.#page(url, view, known, view.status === 503 ? { 'retry-after': '5' } : {})
    }
  }

  /** The path below the base. `undefined`: it is not below. */
  #pathOf({ pathname }: URL): string | undefined {
    const { base } = this.#links
    if (pathname.startsWith('//')) return undefined
    if (`${pathname}/` === base) return ''
    return pathname.startsWith(base) ? pathname.slice(base.length) : undefined
  }

  async #visit(request: Request, url: URL, path: string | undefined, known: Known): Promise<Response> {
    const method = request.method === 'HEAD' ? 'GET' : request.method
    const ofPath = routes.filter((route) => path !== undefined && route.path.test(path))
    const route = ofPath.find((each) => each.method === method)
    if (path === undefined || ofPath.length === 0) return this.#page(url, notHere(this.#links), known)
    if (route === undefined)
      return this.#page(url, plainView(405, 'Not in this way', null), known, {
        allow: ofPath.map((each) => each.method).join(', '),
      })
    const visit = this.#visitOf(url, known)
    let fields = noFields
    if (route.method === 'POST') {
      const form = await this.#form(request, visit, route)
      if (!('text' in form)) return this.#page(url, form, known)
      fields = form
    }
    const state = await this.#schemaState(route.method === 'POST')
    if (schemaTrouble(state) !== undefined) return this.#page(url, schemaView(state), known)
    const answer = await route.run(visit, route.path.exec(path)?.slice(1) ?? [], fields)
    return this.#respond(url, answer, known)
  }

  #visitOf(url: URL, { user, formSecret }: Known): Visit {
    const { ops, readOnly, clock, timeZone, circuits, traceUrl } = this.#settings
    return {
      ...{ ops, url, user, circuits, traceUrl, links: this.#links },
      mayAct: !readOnly && user.role === 'operator',
      formToken: formTokenOf(formSecret, user.name),
      times: times(timeZone, clock.wall()),
    }
  }

  /** The fields of a form that one of our pages sent for somebody who may act; else the page that refuses. */
  async #form(request: Request, visit: Visit, { maxBytes = formBytes }: Route): Promise<Fields | View> {
    if (!visit.mayAct)
      return plainView(
        403,
        'You may look, not act',
        html`<p>${this.#settings.readOnly ? 'This page is read-only.' : 'You are a viewer here.'}</p>`,
      )
    if (!isFromOwnPage(request, this.#settings.origins))
      return plainView(
        403,
        'This form came from another site',
        html`<p>
          Nothing was done. If it did not, a proxy changes the name of this server: give <code>origins</code> to the
          page.
        </p>`,
      )
    const read = await readFields(request, maxBytes)
    if (!('fields' in read)) return plainView(read.status, formProblems[read.status], html`<p>Nothing was done.</p>`)
    if (!isSame(read.fields.text('form-token'), visit.formToken))
      return plainView(
        403,
        'This form is too old',
        html`<p>Nothing was done. Go back, reload the page, and try again.</p>`,
      )
    return read.fields
  }

  /** An act asks the database itself; a page may rely on what was seen a moment ago. */
  #schemaState(fresh: boolean): Promise<SchemaState> {
    const { ops, clock } = this.#settings
    const nowMs = clock.now()
    if (fresh || this.#schema === undefined || this.#schema.untilMs <= nowMs) {
      const state = ops.store.schema()
      this.#schema = { state, untilMs: nowMs + schemaMs }
      state.then(
        (found) => schemaTrouble(found) !== undefined && (this.#schema = undefined),
        () => (this.#schema = undefined),
      )
    }
    return this.#schema.state
  }

  #respond(url: URL, answer: Answer, known: Known): Response {
    if ('goTo' in answer) return redirect(answer.goTo)
    if ('bytes' in answer) return downloadResponse(answer)
    return this.#page(url, answer, known)
  }

  #page(url: URL, view: View, known: Known | undefined, headers: Readonly<Record<string, string>> = {}): Response {
    const { timeZone, clock, readOnly } = this.#settings
    const nowMs = clock.wall()
    const self = new URL(url)
    for (const name of ['done', 'n', 'token']) self.searchParams.delete(name)
    const text = documentOf(view, {
      links: this.#links,
      user: known?.user,
      mayAct: !readOnly && known?.user.role === 'operator',
      taken: times(timeZone, nowMs).text(view.takenMs ?? nowMs),
      notice: view.status === undefined ? noticeOf(url) : null,
      self: `${self.pathname}${self.search}`,
    })
    const cookie = known?.setCookie
    return pageResponse(text, view.status ?? 200, { ...headers, ...(cookie !== undefined && { 'set-cookie': cookie }) })
  }

  /** A pool may wait for a connection for ever: a person does not. */
  #inTime(work: () => Promise<Response>): Promise<Response> {
    const { clock, answerMs } = this.#settings
    return new Promise((resolve, reject) => {
      const cancel = clock.after(answerMs, () =>
        reject(new HoldfastError('unavailable', `operatorPage: no answer within ${answerMs} ms`)),
      )
      work().then(resolve, reject).finally(cancel)
    })
  }
}

const formProblems = {
  400: 'This form cannot be read',
  413: 'This form is too large',
  415: 'This is no form',
} as const

function notHere({ base }: Links): View {
  return plainView(404, 'There is no such page', html`<p><a href="${base}">Overview</a></p>`)
}
