import { fastify, type FastifyInstance } from 'fastify'
import { afterEach, describe, expect, it } from 'vitest'
import { pipeline } from '../../src/core/pipeline.ts'
import { outgoing } from '../../src/core/publisher.ts'
import { holdfast, type HoldfastPluginOptions, type PartEnd } from '../../src/fastify/index.ts'
import { memoryBroker, memoryConsumer } from '../../src/transports/memory/index.ts'
import { emptyStore } from '../dashboard/support.ts'

const open: FastifyInstance[] = []
afterEach(async () => {
  for (const app of open.splice(0)) await app.close()
})

async function started(options: HoldfastPluginOptions & { readonly prefix?: string } = {}): Promise<FastifyInstance> {
  const app = fastify()
  open.push(app)
  await app.register(holdfast, options)
  await app.ready()
  return app
}

const get = async (app: FastifyInstance, url: string, headers = {}) => {
  const answer = await app.inject({ method: 'GET', url, headers })
  return { status: answer.statusCode, body: answer.body, headers: answer.headers }
}

describe('what runs with the application', () => {
  it('starts when it is ready, and drains before it stops to answer', async () => {
    const broker = memoryBroker()
    const gate = Promise.withResolvers<void>()
    const begun = Promise.withResolvers<void>()
    const done: string[] = []
    const slow = pipeline('slow').handle(async ({ message }) => {
      begun.resolve()
      await gate.promise
      done.push(message.id)
    })
    const app = await started({
      run: [memoryConsumer({ broker, groupId: 'g', topics: ['t'], pipeline: slow, drainMs: 5000 })],
    })
    const late: string[] = []
    const other = fastify()
    open.push(other)
    await other.register(holdfast, { run: [{ run: async () => {} }], onEnd: () => late.push('ended') })
    expect(late).toEqual([])
    await broker.publisher().publish([outgoing({ id: 'm-1', destination: 't', body: null })])
    await begun.promise
    const origin = await app.listen({ port: 0, host: '127.0.0.1' })
    const closing = app.close()
    expect((await fetch(`${origin}/health/live`)).status).toBe(503)
    gate.resolve()
    await closing
    expect(done).toEqual(['m-1'])
    await other.ready()
    await expect.poll(() => late).toEqual(['ended'])
  })

  it('a part that fails or ends is not live any more, and is told of', async () => {
    const ends: PartEnd[] = []
    const app = await started({
      onEnd: (end) => ends.push(end),
      run: [{ run: async () => Promise.reject(new Error('no broker')) }, { run: async () => {} }],
      health: { details: true },
    })
    await expect
      .poll(() => ends.toSorted((a, b) => a.part.localeCompare(b.part)))
      .toEqual([{ part: 'part 1', error: new Error('no broker') }, { part: 'part 2' }])
    const { status, body } = await get(app, '/health/live')
    expect([status, JSON.parse(body)]).toEqual([
      503,
      {
        live: false,
        parts: [
          { name: 'part 1', live: false, ready: false, details: { ended: 'no broker' } },
          { name: 'part 2', live: false, ready: false, details: { ended: 'it ended before it was told to' } },
        ],
      },
    ])
  })
})

describe('the routes for probes', () => {
  const part = { name: 'store', live: true, ready: false, details: { host: 'db-1.internal' } }

  it('answer 200 or 503, without details', async () => {
    const app = await started({ health: { parts: [{ health: () => part }] } })
    const live = await get(app, '/health/live')
    expect([live.status, JSON.parse(live.body)]).toEqual([
      200,
      { live: true, parts: [{ name: 'store', live: true, ready: false }] },
    ])
    const ready = await get(app, '/health/ready')
    expect([ready.status, ready.headers['cache-control']]).toEqual([503, 'no-store'])
    expect(live.body + ready.body).not.toContain('db-1')
  })

  it('are where the options and the prefix say, or nowhere', async () => {
    const app = await started({ prefix: '/internal', health: { live: '/livez', ready: '/readyz' } })
    expect((await get(app, '/internal/livez')).status).toBe(200)
    expect((await get(app, '/internal/readyz')).status).toBe(200)
    expect((await get(await started({ health: false }), '/health/live')).status).toBe(404)
  })
})

describe("the operator's page", () => {
  const authorization = `Basic ${btoa('ana:secret')}`
  const page = {
    store: emptyStore(),
    auth: (request: Request) =>
      request.headers.get('authorization') === authorization ? ({ name: 'ana', role: 'viewer' } as const) : null,
  }

  it.each([
    [{}, '/holdfast'],
    [{ prefix: '/internal' }, '/internal/holdfast'],
    [{ basePath: '/ops/queues/' }, '/ops/queues'],
  ] as const)('is mounted with %o', async ({ prefix, basePath }: { prefix?: string; basePath?: string }, path) => {
    const app = await started({
      page: { ...page, ...(basePath !== undefined && { basePath }) },
      ...(prefix !== undefined && { prefix }),
    })
    const origin = await app.listen({ port: 0, host: '127.0.0.1' })
    for (const each of [path, `${path}/`, `${path}/letters`])
      expect((await fetch(origin + each, { headers: { authorization } })).status, each).toBe(200)
    const text = await (await fetch(`${origin}${path}/`, { headers: { authorization } })).text()
    const links = [...text.matchAll(/(?:href|src)="([^"]+\.(?:css|js))"/g)].map(([, link = '']) => link)
    expect(links.length).toBeGreaterThan(0)
    for (const link of links) expect((await fetch(origin + link)).status, link).toBe(200)
    expect((await fetch(`${origin}${path}/letters`)).status).toBe(401)
  })

  it('leaves the bodies of other routes to the application', async () => {
    const app = fastify()
    open.push(app)
    await app.register(holdfast, { page })
    app.post('/echo', async ({ body }) => body)
    const answer = await app.inject({ method: 'POST', url: '/echo', payload: { a: 1 } })
    expect(answer.json()).toEqual({ a: 1 })
  })
})

it.each<[HoldfastPluginOptions, RegExp]>([
  [{ runs: [] } as HoldfastPluginOptions, /unknown option 'runs'.*Did you mean 'run'/],
  [{ run: [{} as never] }, /run\[0\] must be an object with run\(\)/],
  [{ health: true as never }, /health must be/],
  [{ health: { alive: '/' } as never }, /unknown option 'alive'/],
  [{ page: { store: emptyStore() } }, /give auth, or loopback/],
])('refuses %o when it is registered', async (options, message) => {
  await expect(started(options)).rejects.toThrow(message)
})
