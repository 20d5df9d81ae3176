import type { IncomingMessage, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'

export interface NodeListenerOptions {
  /** The protocol that browsers use, where a proxy ends TLS. @defaultValue that of the connection */
  readonly protocol?: 'http' | 'https'
}

/** A request of `node:http`; Express and others add where it was mounted and what a parser made of its body. */
export type NodeRequest = IncomingMessage & { readonly originalUrl?: string; readonly body?: unknown }

/** Mounts the page in `node:http`, Express, Nest, Connect, and on the raw request and response of Fastify. */
export function nodeListener(
  handle: (request: Request) => Promise<Response>,
  { protocol }: NodeListenerOptions = {},
): (request: NodeRequest, response: ServerResponse) => void {
  return (request, response) => {
    void serve(handle, request, response, protocol).catch(() => {
      if (!response.headersSent) response.writeHead(500, { 'content-type': 'text/plain' })
      response.end()
    })
  }
}

async function serve(
  handle: (request: Request) => Promise<Response>,
  incoming: NodeRequest,
  outgoing: ServerResponse,
  protocol: string | undefined,
): Promise<void> {
  const request = requestFrom(incoming, protocol)
  if (request === undefined) {
    outgoing.writeHead(400, { 'content-type': 'text/plain' }).end('Bad request')
    return
  }
  const answer = await handle(request)
  for (const [name, value] of answer.headers) if (name !== 'set-cookie') outgoing.setHeader(name, value)
  const cookies = answer.headers.getSetCookie()
  if (cookies.length > 0) outgoing.setHeader('set-cookie', cookies)
  // What was not read must not be taken for the next request.
  if (!incoming.readableEnded && incoming.method !== 'GET' && incoming.method !== 'HEAD')
    outgoing.setHeader('connection', 'close')
  outgoing.writeHead(answer.status)
  outgoing.end(answer.body === null ? undefined : Buffer.from(await answer.arrayBuffer()))
}

function requestFrom(incoming: NodeRequest, protocol: string | undefined): Request | undefined {
  const { method = 'GET', socket } = incoming
  const host = incoming.headers.host ?? ''
  if (!/^[\w.:[\]-]{1,255}$/.test(host)) return undefined
  const scheme = protocol ?? ('encrypted' in socket ? 'https' : 'http')
  const target = incoming.originalUrl ?? incoming.url ?? '/'
  const address = `${scheme}://${host}${target}`
  if (!target.startsWith('/') || !URL.canParse(address)) return undefined
  try {
    const headers = new Headers()
    for (const [name, values] of Object.entries(incoming.headersDistinct))
      for (const value of values ?? []) headers.append(name, value)
    const body = method === 'GET' || method === 'HEAD' ? undefined : bodyFrom(incoming)
    return new Request(address, { method, headers, ...(body !== undefined && { body, duplex: 'half' }) })
  } catch {
    // A method or a header that a browser never sends.
    return undefined
  }
}

/** The body, or what a parser before us made of it, put together again. */
function bodyFrom(incoming: NodeRequest): RequestInit['body'] {
  const { body } = incoming
  const isEaten = incoming.readableEnded || !incoming.readable || incoming.readableDidRead
  if (!isEaten || body === undefined || body === null) return Readable.toWeb(incoming) as RequestInit['body']
  if (typeof body === 'string') return body
  if (body instanceof Uint8Array) return new Uint8Array(body)
  const fields = new URLSearchParams()
  for (const [name, value] of Object.entries(body))
    for (const each of Array.isArray(value) ? (value as readonly unknown[]) : [value])
      if (typeof each === 'string') fields.append(name, each)
  return fields.toString()
}
