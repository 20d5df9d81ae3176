import 'reflect-metadata'
import { createServer, type RequestListener, type Server } from 'node:http'
import { createRequire } from 'node:module'
import { Module, type INestApplication, type Type } from '@nestjs/common'
import { NestFactory } from '@nestjs/core'
import fastify from 'fastify'
import { afterAll, describe, expect, it } from 'vitest'
import { nodeListener, operatorPage } from '../../src/dashboard/index.ts'
import type { Letter, LetterEdit } from '../../src/dead-letter/store.ts'
import { headersFrom } from '../../src/core/message.ts'
import { emptyStore, formsOf } from './support.ts'

interface Express extends RequestListener {
  (...args: Parameters<RequestListener>): void
  use(...args: readonly unknown[]): void
}
interface ExpressModule {
  (): Express
  urlencoded(options: { readonly extended: boolean }): unknown
  json(): unknown
}
interface HonoApp {
  all(path: string, handle: (context: { readonly req: { readonly raw: Request } }) => Promise<Response>): void
  request(url: string, init?: RequestInit): Promise<Response>
}
// As much of their types as is used: Express ships none.
const require = createRequire(import.meta.url)
const express = require('express') as ExpressModule
const { Hono } = require('hono') as { readonly Hono: new () => HonoApp }

const letter: Letter = {
  ...({
    id: '1',
    state: 'dead',
    pipeline: 'p',
    destination: 'd',
    messageId: 'm',
    key: null,
    reason: 'permanent',
  } as const),
  ...{ errorName: 'E', errorMessage: 'e', group: 'g', deaths: 1, redrives: 0, deadMs: 0, type: 't', producedMs: 0 },
  origin: { system: 'kafka', destination: 'd', partition: null, position: null, group: null },
  ...{
    headers: headersFrom([]),
    body: Buffer.from('old'),
    errorCode: null,
    errorStack: null,
    attempts: 1,
    traceId: null,
  },
  ...{ subject: null, claimScope: null, claimKey: null, history: [], replaces: null, replacedBy: null, firstMs: 0 },
  ...{ changedMs: 0, generation: 0, settled: 0, claimState: null, bodyKey: null },
}

/** A page that writes down what it was told to do. */
function recorded() {
  const store = emptyStore()
  const dropped: unknown[] = []
  const edits: LetterEdit[] = []
  const letters = {
    ...store.letters,
    letter: async () => letter,
    drop: async (filter: unknown) => (dropped.push(filter), ['1']),
    edit: async (_: string, __: number, edit: LetterEdit) => (edits.push(edit), '2'),
    preview: async () => ({ ...(await store.letters.preview({})), matched: 1, free: 1 }),
  }
  const page = operatorPage({
    store: { ...store, letters },
    basePath: '/ops/holdfast',
    readOnly: false,
    auth: (request) =>
      request.headers.get('authorization') === `Basic ${btoa('ana:secret')}` ? { name: 'ana', role: 'operator' } : null,
  })
  return { page, dropped, edits }
}

const closing: (() => unknown)[] = []
afterAll(async () => {
  for (const close of closing) await close()
})

async function listening(server: Server): Promise<string> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closing.push(() => (server.closeAllConnections(), server.close()))
  return `http://127.0.0.1:${(server.address() as { port: number }).port}`
}

type Page = (request: Request) => Promise<Response>
type Call = (path: string, init?: RequestInit) => Promise<Response>
const over =
  (origin: string): Call =>
  (path, init) =>
    fetch(`${origin}${path}`, { redirect: 'manual', ...init })

const mounts: Readonly<Record<string, (page: Page) => Promise<Call>>> = {
  'node:http': async (page) => over(await listening(createServer(nodeListener(page)))),
  express: async (page) => {
    const app = express()
    app.use('/ops/holdfast', nodeListener(page))
    return over(await listening(createServer(app)))
  },
  'express behind its body parsers': async (page) => {
    const app = express()
    app.use(express.json())
    app.use(express.urlencoded({ extended: true }))
    app.use('/ops/holdfast', nodeListener(page))
    return over(await listening(createServer(app)))
  },
  fastify: async (page) => {
    const app = fastify()
    const listener = nodeListener(page)
    await app.register(async (scope) => {
      // The page reads bodies itself.
      scope.removeAllContentTypeParsers()
      scope.addContentTypeParser('*', (_request, _payload, done) => done(null))
      for (const path of ['/ops/holdfast', '/ops/holdfast/*'])
        scope.all(path, (request, reply) => {
          reply.hijack()
          listener(request.raw, reply.raw)
        })
    })
    const origin = await app.listen({ port: 0, host: '127.0.0.1' })
    closing.push(() => app.close())
    return over(origin)
  },
  hono: async (page) => {
    const app = new Hono()
    app.all('/ops/holdfast/*', (context) => page(context.req.raw))
    return async (path, init) => app.request(`http://ops.example${path}`, init)
  },
  nest: async (page) => {
    class AppModule {}
    Module({})(AppModule)
    const app: INestApplication = await NestFactory.create(AppModule as Type, { logger: false })
    app.use('/ops/holdfast', nodeListener(page))
    await app.listen(0, '127.0.0.1')
    closing.push(() => app.close())
    return over(await app.getUrl())
  },
}

describe.each(Object.entries(mounts))('mounted in %s', (_, mount) => {
  const authorization = `Basic ${btoa('ana:secret')}`

  it('the page, its style and its script are served below its path, and nothing without a name', async () => {
    const { page } = recorded()
    const call = await mount(page)
    for (const path of ['/ops/holdfast', '/ops/holdfast/', '/ops/holdfast/letters?key=a%2Fb'])
      expect((await call(path, { headers: { authorization } })).status, path).toBe(200)
    const text = await (await call('/ops/holdfast/', { headers: { authorization } })).text()
    for (const [, path = ''] of text.matchAll(/(?:href|src)="([^"]+\.(?:css|js))"/g)) {
      const file = await call(path)
      expect(file.status).toBe(200)
      expect(file.headers.get('content-type')).toMatch(/^text\/(?:css|javascript)/)
    }
    const refused = await call('/ops/holdfast/letters')
    expect(refused.status).toBe(401)
    expect(refused.headers.get('content-security-policy')).toContain("default-src 'none'")
    expect((await call('/ops/holdfast/nonsense', { headers: { authorization } })).status).toBe(404)
    const head = await call('/ops/holdfast/', { method: 'HEAD', headers: { authorization } })
    expect([head.status, await head.text()]).toEqual([200, ''])
  })

  it('a form acts, a file comes byte for byte, and a foreign or a huge form is refused', async () => {
    const { page, dropped, edits } = recorded()
    const call = await mount(page)
    const asked = await call('/ops/holdfast/letters/drop?ids=1', { headers: { authorization } })
    const cookie = asked.headers.getSetCookie()[0]?.split(';')[0] ?? ''
    const form = formsOf(await asked.text()).find(({ action }) => action.endsWith('/drop'))
    const body = new URLSearchParams(form?.fields as [string, string][]).toString()
    const own = { authorization, cookie, 'sec-fetch-site': 'same-origin' }
    const type = { 'content-type': 'application/x-www-form-urlencoded' }
    const post = (path: string, headers: Record<string, string>, sent: RequestInit['body']) =>
      call(`/ops/holdfast/${path}`, { method: 'POST', headers, body: sent ?? null })
    expect((await post('letters/drop', { ...own, ...type, 'sec-fetch-site': 'cross-site' }, body)).status).toBe(403)
    expect((await post('letters/drop', { ...own, ...type }, `${body}&x=${'x'.repeat(2_000_000)}`)).status).toBe(413)
    expect(dropped).toEqual([])
    const acted = await post('letters/drop', { ...own, ...type }, body)
    expect([acted.status, acted.headers.get('location')]).toEqual([
      303,
      '/ops/holdfast/letters?state=dropped&done=dropped&n=1',
    ])
    expect(dropped).toEqual([{ ids: ['1'] }])
    const bytes = new Uint8Array(100_000).map((_value, at) => at % 256)
    const upload = new FormData()
    for (const [name, value] of form?.fields ?? []) upload.set(name, value)
    upload.set('settled', '0')
    upload.set('body', 'file')
    upload.set('file', new Blob([bytes]), 'x.bin')
    expect((await post('letters/1/edit', own, upload)).status).toBe(303)
    expect(Buffer.from(edits[0]?.body ?? []).equals(Buffer.from(bytes))).toBe(true)
  })
})
