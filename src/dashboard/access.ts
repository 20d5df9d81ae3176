import { textOf } from '../core/errors.ts'
import { html } from './html.ts'
import { plainView } from './layout.ts'
import { cookieOf, cookieText, isOwnHost, isSame, newSecret, formCookie, type CookieScope } from './security.ts'
import type { Operator, View } from './visit.ts'

/** Says who sends a request. `null`: nobody that is known. A response, such as a redirect to a login, is sent as it is. */
export type Auth = (request: Request) => Operator | Response | null | Promise<Operator | Response | null>

export interface AccessOptions {
  readonly auth: Auth | undefined
  /** The one secret of a page for the person at this machine. */
  readonly token: string | undefined
  readonly localUser: Operator
  readonly origins: readonly string[] | undefined
  readonly cookie: CookieScope
}

export type Access =
  | { readonly user: Operator; readonly formSecret: string; readonly setCookie: string | undefined }
  | { readonly refused: View; readonly headers?: Readonly<Record<string, string>> }
  | { readonly response: Response }
  | { readonly enter: string; readonly setCookie: string }

/** Who asks, and whether by a name of this server. Nothing of the page is shown before both are known. */
export async function accessOf(request: Request, url: URL, options: AccessOptions): Promise<Access> {
  const { auth, token, origins, cookie } = options
  if (!isOwnHost(request, origins, token !== undefined))
    return {
      refused: plainView(
        421,
        'This page has another address',
        token === undefined
          ? html`<p>It answers only to the origins that it was made with.</p>`
          : html`<p>It answers to localhost only.</p>`,
      ),
    }
  if (token !== undefined) return local(request, url, token, options)
  const user = await auth?.(request)
  if (user instanceof Response) return { response: user }
  if (user === null || user === undefined)
    return {
      refused: plainView(401, 'Who are you?', html`<p>This page is for operators who have signed in.</p>`),
      headers: { 'www-authenticate': 'Basic realm="holdfast", charset="UTF-8"' },
    }
  checkOperator(user)
  const known = cookieOf(request, formCookie)
  const formSecret = known !== undefined && /^[\w-]{32}$/.test(known) ? known : newSecret()
  return { user, formSecret, setCookie: formSecret === known ? undefined : cookieText(formCookie, formSecret, cookie) }
}

// Cookies are shared by the ports of a host: each page of this machine has a name of its own.
function local(request: Request, url: URL, token: string, { cookie, localUser }: AccessOptions): Access {
  const cookieName = `holdfast-${token.slice(0, 6)}`
  if (isSame(url.searchParams.get('token'), token)) {
    const clean = new URL(url)
    clean.searchParams.delete('token')
    return { enter: `${clean.pathname}${clean.search}`, setCookie: cookieText(cookieName, token, cookie) }
  }
  if (isSame(cookieOf(request, cookieName), token)) return { user: localUser, formSecret: token, setCookie: undefined }
  return {
    refused: plainView(
      401,
      'Open the address that the terminal printed',
      html`<p>It holds the token of this page.</p>`,
    ),
  }
}

function checkOperator(user: Operator): void {
  const { name, role } = user as { name?: unknown; role?: unknown }
  if (typeof name !== 'string' || name === '' || (role !== 'viewer' && role !== 'operator'))
    throw new TypeError(
      `operatorPage: auth must return { name, role: 'viewer' | 'operator' }, a Response or null, got ${textOf(user).errorMessage.slice(0, 80)}`,
    )
}
