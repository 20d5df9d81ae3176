import { operatorPage, type OperatorPageOptions } from '../../src/dashboard/index.ts'
import type { LetterOperations } from '../../src/dead-letter/store.ts'
import type { OperatorStore } from '../../src/operations/store.ts'

export interface Form {
  readonly action: string
  readonly method: string
  readonly fields: readonly (readonly [name: string, value: string])[]
  readonly text: string
}

const entities: Readonly<Record<string, string>> = { amp: '&', lt: '<', gt: '>', quot: '"', '#39': "'", '#96': '`' }
export const decoded = (text: string): string =>
  text.replace(/&(amp|lt|gt|quot|#39|#96);/g, (_, of: string) => entities[of] ?? '')

const attribute = (tag: string, name: string): string | undefined => {
  const found = new RegExp(`\\s${name}="([^"]*)"`).exec(tag)?.[1]
  return found === undefined ? undefined : decoded(found)
}

/** The forms of a page as a browser sends them: hidden fields, texts, what is checked, and the contents of text areas. */
export function formsOf(page: string): Form[] {
  return [...page.matchAll(/<form\b[^>]*>([\s\S]*?)<\/form>/g)].map(([whole, inner = '']) => {
    const fields: [string, string][] = []
    for (const [tag] of inner.matchAll(/<input\b[^>]*>/g)) {
      const name = attribute(tag, 'name')
      const isChoice = /type="(?:checkbox|radio)"/.test(tag)
      if (name !== undefined && !/type="file"/.test(tag) && (!isChoice || /\schecked/.test(tag)))
        fields.push([name, attribute(tag, 'value') ?? ''])
    }
    for (const [, tag = '', text = ''] of inner.matchAll(/<textarea\b([^>]*)>\n?([\s\S]*?)<\/textarea>/g))
      fields.push([attribute(tag, 'name') ?? '', decoded(text).replace(/\r?\n/g, '\r\n')])
    const tag = /<form\b[^>]*>/.exec(whole)?.[0] ?? ''
    return { action: attribute(tag, 'action') ?? '', method: attribute(tag, 'method') ?? 'get', fields, text: inner }
  })
}

export interface Got {
  readonly status: number
  readonly text: string
  readonly headers: Headers
}

/** A browser without a screen: it keeps cookies, follows redirects and says where its forms come from. */
export function browserOf(handle: (request: Request) => Promise<Response>, origin = 'http://localhost') {
  const cookies = new Map<string, string>()

  async function send(path: string, init: RequestInit = {}): Promise<Got> {
    const headers = new Headers(init.headers)
    if (!headers.has('host')) headers.set('host', new URL(origin).host)
    if (cookies.size > 0) headers.set('cookie', [...cookies].map(([name, value]) => `${name}=${value}`).join('; '))
    const response = await handle(new Request(new URL(path, origin), { ...init, headers }))
    for (const cookie of response.headers.getSetCookie()) {
      const [pair = ''] = cookie.split(';')
      const at = pair.indexOf('=')
      cookies.set(pair.slice(0, at), pair.slice(at + 1))
    }
    const location = response.headers.get('location')
    if (response.status === 303 && location !== null) return send(location)
    return { status: response.status, text: await response.text(), headers: response.headers }
  }

  const get = (path: string, headers: Record<string, string> = {}): Promise<Got> => send(path, { headers })

  const post = (
    path: string,
    body: string | Uint8Array<ArrayBuffer>,
    headers: Record<string, string> = {},
  ): Promise<Got> =>
    send(path, {
      method: 'POST',
      body,
      headers: { 'content-type': 'application/x-www-form-urlencoded', 'sec-fetch-site': 'same-origin', ...headers },
    })

  /** Sends the form of a page that leads to that place, with some fields changed. */
  async function submit(page: string, action: RegExp, change: Readonly<Record<string, string>> = {}): Promise<Got> {
    const form = formsOf(page).find((each) => each.method === 'post' && action.test(each.action))
    if (form === undefined)
      throw new Error(`no form to ${String(action)} in: ${page.replace(/<[^>]+>/g, ' ').slice(0, 600)}`)
    const fields = new URLSearchParams(form.fields.filter(([name]) => !(name in change)) as [string, string][])
    for (const [name, value] of Object.entries(change)) fields.append(name, value)
    return post(form.action, fields.toString())
  }

  return { get, post, send, submit, cookies }
}

export const token = 'a'.repeat(40)

/** The page for the person at this machine, already entered. */
export function entered(store: OperatorStore, options: Partial<OperatorPageOptions> = {}) {
  const page = operatorPage({ store, loopback: { token, name: 'ana' }, readOnly: false, cacheMs: 0, ...options })
  const browser = browserOf(page)
  browser.cookies.set('holdfast-aaaaaa', token)
  return { page, ...browser }
}

/** A store without anything in it, for what needs no database. */
export function emptyStore(change: Partial<OperatorStore> = {}): OperatorStore {
  const none = async () => []
  const refuse = (): Promise<never> => Promise.reject(new Error('not here'))
  const letters: LetterOperations = {
    list: async () => ({ letters: [], next: null }),
    count: async () => 0,
    groups: none,
    tally: async () => ({ letters: 0, groups: [] }),
    letter: async () => undefined,
    preview: async () => {
      return { matched: 0, free: 0, taken: 0, guarded: 0, completed: 0, conflicts: 0, keys: 0, looked: 0 }
    },
    create: async () => undefined,
    redrives: none,
    redrive: async () => undefined,
    redriveItems: none,
    pause: async () => undefined,
    resume: async () => undefined,
    cancel: async () => undefined,
    drop: none,
    restore: none,
    reopen: none,
    edit: async () => undefined,
    erase: async () => 0,
    clean: async () => 0,
    rotate: async () => 0,
    regroup: async () => 0,
    log: none,
    note: async () => undefined,
  }
  return {
    letters,
    schema: async () => ({ applied: [{ version: 1, name: 'first', atMs: 0 }], missing: [], newer: [] }),
    outbox: async () => undefined,
    outboxDead: none,
    outboxReplay: refuse,
    outboxSkip: refuse,
    keys: none,
    unblock: async () => 'none',
    claims: none,
    forget: async () => false,
    traces: async () => ({
      ...{ letters: [], claims: [], redrives: [], outbox: [], parked: [], journal: [], acts: [], incomplete: [] },
    }),
    cleanJournal: async () => 0,
    writeJournal: async () => undefined,
    ...change,
  }
}
