import { createHash, createHmac, randomBytes, timingSafeEqual } from 'node:crypto'

/** Nothing is loaded from elsewhere, nothing runs but our one file, nobody may frame or keep a page. */
export const securityHeaders: Readonly<Record<string, string>> = {
  'content-security-policy':
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
  'x-content-type-options': 'nosniff',
  'x-frame-options': 'DENY',
  'referrer-policy': 'same-origin',
  'cross-origin-opener-policy': 'same-origin',
  'cross-origin-resource-policy': 'same-origin',
  'permissions-policy': 'camera=(), geolocation=(), microphone=()',
  'x-robots-tag': 'noindex',
  'cache-control': 'no-store',
}

/** For a body that somebody downloads: were it shown, it could do nothing. */
export const downloadPolicy = "sandbox; default-src 'none'; frame-ancestors 'none'"

const loopbackHost = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])(?::\d{1,5})?$/i

export function hostOf(request: Request): string {
  return (request.headers.get('host') ?? new URL(request.url).host).toLowerCase()
}

/** A website can point its own name at this server: what its script asks for arrives with that name as the host. */
export function isOwnHost(request: Request, origins: readonly string[] | undefined, loopback: boolean): boolean {
  const host = hostOf(request)
  if (loopback) return loopbackHost.test(host)
  return origins === undefined || origins.some((origin) => new URL(origin).host.toLowerCase() === host)
}

/**
 * Whether a form was sent by a page of ours. Browsers say so; what says nothing is not believed. A page of another name of
 * this server counts as foreign too.
 */
export function isFromOwnPage(request: Request, origins: readonly string[] | undefined): boolean {
  const site = request.headers.get('sec-fetch-site')
  const origin = request.headers.get('origin')
  if (site === null && origin === null) return false
  if (site !== null && site !== 'same-origin') return false
  if (origin === null) return true
  if (origins !== undefined) return origins.includes(origin.toLowerCase())
  // A proxy may have changed the host; then the browser's own word has to do.
  return site === 'same-origin' ? origin !== 'null' : hostOfOrigin(origin) === hostOf(request)
}

function hostOfOrigin(origin: string): string | undefined {
  return URL.canParse(origin) ? new URL(origin).host.toLowerCase() : undefined
}

export function cookieOf(request: Request, name: string): string | undefined {
  for (const pair of (request.headers.get('cookie') ?? '').split(';')) {
    const at = pair.indexOf('=')
    if (at > 0 && pair.slice(0, at).trim() === name) return pair.slice(at + 1).trim()
  }
  return undefined
}

export interface CookieScope {
  readonly path: string
  readonly secure: boolean
}

/** Scripts cannot read it, and no other site's request brings it. */
export function cookieText(name: string, value: string, { path, secure }: CookieScope): string {
  return `${name}=${value}; Path=${path}; HttpOnly; SameSite=Strict${secure ? '; Secure' : ''}`
}

export const newSecret = (): string => randomBytes(24).toString('base64url')

export function isSame(a: string | undefined | null, b: string): boolean {
  const digest = (text: string): Buffer => createHash('sha256').update(text).digest()
  return typeof a === 'string' && timingSafeEqual(digest(a), digest(b))
}

export const formCookie = 'holdfast-form'

/** What a form of ours brings: made from a cookie that another site can neither read nor send, and of this person. */
export function formTokenOf(cookie: string, name: string): string {
  return createHmac('sha256', cookie).update(name.toWellFormed()).digest('base64url')
}
