import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { coffees } from '../orders.ts'
import type { Html } from './html.ts'
import type { CoffeeStore } from './store.ts'
import { script } from './script.ts'
import { style } from './style.ts'
import { isSwitch } from './switches.ts'
import { pageOf, partsOf, type Seen } from './view.ts'

export interface ServerOptions {
  readonly port: number
  readonly store: CoffeeStore
  readonly see: () => Seen
  /** Further pages by the beginning of their path. */
  readonly mounts: Readonly<Record<string, RequestListener>>
}

/** Nothing from elsewhere, nothing inline, nobody frames it. */
const policy =
  "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
const showEveryMs = 250
const files: Readonly<Record<string, readonly [type: string, text: string]>> = {
  '/page.css': ['text/css; charset=utf-8', style],
  '/page.js': ['text/javascript; charset=utf-8', script],
}

/** The page on loopback: the whole page at first, then its parts as they change. */
export async function servePage(options: ServerOptions): Promise<{ readonly url: string; close(): void }> {
  const { port, see } = options
  const viewers = new Set<ServerResponse>()
  let before: Readonly<Record<string, Html>> = {}

  const timer = setInterval(() => {
    if (viewers.size === 0) return
    const parts = partsOf(see())
    const changed = Object.entries(parts).filter(([name, part]) => before[name]?.text !== part.text)
    before = parts
    if (changed.length > 0) for (const viewer of viewers) send(viewer, Object.fromEntries(changed))
  }, showEveryMs)

  /** A viewer that does not keep up is let go: its browser comes back. */
  function send(viewer: ServerResponse, parts: Readonly<Record<string, Html>>): void {
    if (viewer.writableNeedDrain) return void viewer.destroy()
    const texts = Object.fromEntries(Object.entries(parts).map(([name, part]) => [name, part.text]))
    viewer.write(`data: ${JSON.stringify(texts)}\n\n`)
  }

  const server = createServer((request, response) => {
    const [path = '/'] = (request.url ?? '/').split('?')
    if (!isOwnHost(request, server)) return answer(response, 421, 'This page answers to localhost only.')
    const mount = Object.entries(options.mounts).find(([at]) => path === at || path.startsWith(`${at}/`))
    if (mount !== undefined) return void mount[1](request, response)
    if (request.method === 'POST') return press(request, response, path)
    if (path === '/') return answer(response, 200, pageOf(see()), 'text/html; charset=utf-8')
    const file = files[path]
    if (file !== undefined) return answer(response, 200, file[1], file[0])
    if (path !== '/live') return answer(response, 404, 'There is no such page.')
    response.writeHead(200, { 'content-type': 'text/event-stream', 'cache-control': 'no-store' })
    viewers.add(response.on('close', () => viewers.delete(response)))
    send(response, partsOf(see()))
    // The next look is sent whole, whatever the others have seen.
    before = {}
  })

  function press(request: IncomingMessage, response: ServerResponse, path: string): void {
    const site = request.headers['sec-fetch-site']
    if (site !== undefined && site !== 'same-origin') return answer(response, 403, 'This came from another site.')
    const act = actOf(options.store, path.replaceAll('%20', ' '))
    if (act === undefined) return answer(response, 404, 'There is no such button.')
    act.catch((error: unknown) => options.store.tally.note(String(error), 'bad'))
    // Without its script, the browser comes back to the page.
    if (request.headers.accept === 'text/plain') response.writeHead(204).end()
    else response.writeHead(303, { location: '/' }).end()
  }

  await new Promise<void>((resolve, reject) => server.once('error', reject).listen(port, '127.0.0.1', resolve))
  return {
    url: `http://localhost:${portOf(server)}/`,
    close() {
      clearInterval(timer)
      server.close()
      server.closeAllConnections()
    },
  }
}

function actOf(store: CoffeeStore, path: string): Promise<void> | undefined {
  const [, act = '', what = '', how = ''] = path.split('/')
  if (act === 'rush') return store.order(100)
  if (act === 'click' && coffees.includes(what)) return store.click(what)
  if (act === 'order' && coffees.includes(what)) return store.order(1, what)
  if (act === 'switch' && isSwitch(what) && (how === 'on' || how === 'off')) return store.set(what, how === 'on')
  return undefined
}

/** Another name that leads to this machine is another site. */
function isOwnHost({ headers: { host } }: IncomingMessage, server: Server): boolean {
  const port = portOf(server)
  return [`localhost:${port}`, `127.0.0.1:${port}`].includes(host ?? '')
}

function portOf(server: Server): number {
  return (server.address() as AddressInfo).port
}

function answer(response: ServerResponse, status: number, body: string, type = 'text/plain; charset=utf-8'): void {
  response
    .writeHead(status, {
      'content-type': type,
      'cache-control': 'no-store',
      'content-security-policy': policy,
      'x-content-type-options': 'nosniff',
    })
    .end(body)
}
