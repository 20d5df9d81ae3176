import avsc from 'avsc'
import { once } from 'node:events'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest'
import type { Decoder } from '../../src/core/codec.ts'
import { headerText, type Bytes } from '../../src/core/message.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { outgoing } from '../../src/core/publisher.ts'
import { deadLetter } from '../../src/dead-letter/dead-letter.ts'
import { retry } from '../../src/retry/retry.ts'
import { memoryBroker, memoryConsumer } from '../../src/transports/memory/index.ts'
import { codeBlocks } from '../support/code-blocks.ts'
import { privateRegistry, type PrivateServer } from '../support/private-servers.ts'
import { describeFull } from '../support/skipped.ts'

// The client of the page itself, over HTTP: against a server that answers as registries do, and against a real registry.

interface Order {
  readonly orderId: string
  readonly note: string | null
}
const written = avsc.Type.forSchema({ type: 'record', name: 'Order', fields: [{ name: 'orderId', type: 'string' }] })
const schemas: Readonly<Record<string, string>> = { '1': JSON.stringify(written.schema()) }
const page = codeBlocks('docs/codecs.md').find(({ code }) => code.includes('const registry: SchemaRegistry'))
// Inside the project, so that its packages are found.
const folder = join(import.meta.dirname, 'dist')

/** Something else than the usual answer for an id, if there is. */
type Instead = (id: string, answer: ServerResponse) => boolean

class Registry {
  readonly asked: string[] = []
  instead: Instead = () => false
  readonly #server: Server

  constructor() {
    this.#server = createServer(({ url = '' }, answer) => {
      this.asked.push(url)
      const [, id = ''] = /^\/schemas\/ids\/(\d+)$/.exec(url) ?? []
      if (this.instead(id, answer)) return
      const schema = schemas[id]
      answer.setHeader('content-type', 'application/vnd.schemaregistry.v1+json')
      answer.statusCode = schema === undefined ? 404 : 200
      answer.end(JSON.stringify(schema === undefined ? { error_code: 40403, message: 'Schema not found' } : { schema }))
    })
  }

  /** Resolves to its address. */
  async listen(port = 0): Promise<string> {
    this.#server.listen(port, '127.0.0.1')
    await once(this.#server, 'listening')
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise((resolve) => this.#server.close(resolve))
  }
}

let modules = 0
/** The decoder of the page, with the registry at this address. */
async function decoderOfThePage(url: string): Promise<Decoder<Order>> {
  const address = 'http://127.0.0.1:8081'
  if (page?.code.includes(address) !== true) throw new Error(`docs/codecs.md has no registry at ${address}`)
  const file = join(folder, `registry-${modules++}.ts`)
  writeFileSync(file, page.code.replace(address, url))
  return ((await import(/* @vite-ignore */ pathToFileURL(file).href)) as { orders: Decoder<Order> }).orders
}

beforeAll(() => mkdirSync(folder, { recursive: true }))
afterAll(() => rmSync(folder, { recursive: true }))

function framed(id: number, data: Uint8Array): Buffer {
  const head = Buffer.alloc(5)
  head.writeUInt32BE(id, 1)
  return Buffer.concat([head, data])
}
const data = written.toBuffer({ orderId: 'o-1' })
const good = framed(1, data)

/** A pipeline that gets one message, and 200 good ones of the same partition behind it. */
async function behind(first: Bytes, url: string, following: Bytes = good) {
  const broker = memoryBroker({ partitions: 1 })
  const wire = broker.publisher()
  const handled: Order[] = []
  const orders = pipeline('orders')
    .use(deadLetter({ to: wire, destination: 'dead' }))
    .use(retry({ maxAttempts: 2, backoff: { initialMs: 1 } }))
    .decode(await decoderOfThePage(url))
    .handle(({ message }) => void handled.push(message.body))
  const send = (id: string, body: Bytes) => outgoing({ destination: 'orders', id, key: id, body })
  await wire.publish([send('first', first), ...Array.from({ length: 200 }, (_, n) => send(`good-${n}`, following))])
  const stop = new AbortController()
  const running = memoryConsumer({ broker, groupId: 'g', topics: ['orders'], pipeline: orders }).run(stop.signal)
  const dead = () => broker.messages('dead').map(({ id }) => id)
  const attempts = () => broker.messages('dead').map(({ headers }) => headerText(headers, 'holdfast-dead-attempts'))
  const end = async () => {
    stop.abort()
    await running
  }
  return { handled, dead, attempts, end }
}

/** Says of bodies with a schema that has this id what becomes of them. */
const spoiled = (id: number): readonly (readonly [what: string, body: Buffer])[] => [
  ['cut off', framed(id, data.subarray(0, -1))],
  ['followed by other bytes', Buffer.concat([framed(id, data), Buffer.from('zz')])],
  ['empty', Buffer.alloc(0)],
  ['of three bytes', framed(id, data).subarray(0, 3)],
  ['of an id that the registry does not know', framed(99, data)],
  ['of the largest id', framed(2 ** 32 - 1, data)],
]

const patient = { timeout: 20_000, interval: 20 }

describe('confluent(), with the registry of the page', () => {
  it.concurrent.each(spoiled(1))(
    'PR-1 one body that is %s is dead-lettered, and the 200 behind it are handled',
    async (_, body) => {
      const registry = new Registry()
      const { handled, dead, attempts, end } = await behind(body, await registry.listen())
      await vi.waitFor(() => expect(handled).toHaveLength(200), patient)
      expect(new Set(handled.map((order) => JSON.stringify(order)))).toEqual(new Set(['{"orderId":"o-1","note":null}']))
      await vi.waitFor(() => expect(dead()).toEqual(['first']), patient)
      // It is known at once that it never fits.
      expect(attempts()).toEqual(['1'])
      expect(registry.asked.filter((url) => url === '/schemas/ids/1')).toHaveLength(1)
      await end()
      await registry.close()
    },
  )

  const status =
    (code: number): Instead =>
    (_, answer) => {
      answer.statusCode = code
      answer.end('{"error_code":50001}')
      return true
    }
  it.concurrent.each<[string, Instead]>([
    ['answers 401', status(401)],
    ['answers 429', status(429)],
    ['answers 500', status(500)],
    ['cuts the connection', (_, answer) => answer.destroy().destroyed],
    ['is a page of some proxy', (_, answer) => answer.end('<html>Sign in</html>').writable || true],
  ])('while the registry %s nothing is handled or dead, and all of it afterwards', async (_, instead) => {
    const registry = new Registry()
    registry.instead = instead
    const { handled, dead, end } = await behind(good, await registry.listen())
    await vi.waitFor(() => expect(registry.asked.length).toBeGreaterThan(0), patient)
    expect([handled.length, dead()]).toEqual([0, []])
    registry.instead = () => false
    await vi.waitFor(() => expect(handled).toHaveLength(201), patient)
    expect(dead()).toEqual([])
    await end()
    await registry.close()
  })

  it.concurrent('while nobody listens nothing is handled or dead, and all of it afterwards', async () => {
    const gone = new Registry()
    const url = await gone.listen()
    await gone.close()
    const registry = new Registry()
    const { handled, dead, end } = await behind(good, url)
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect([handled.length, dead()]).toEqual([0, []])
    await registry.listen(Number(new URL(url).port))
    await vi.waitFor(() => expect(handled).toHaveLength(201), patient)
    expect(dead()).toEqual([])
    await end()
    await registry.close()
  })

  it.concurrent('PR-9 one id that fails alone is dead-lettered, and the 200 behind it are handled', async () => {
    const registry = new Registry()
    registry.instead = (id, answer) => id === '7' && status(500)(id, answer)
    const { handled, dead, end } = await behind(framed(7, data), await registry.listen())
    await vi.waitFor(() => expect(handled).toHaveLength(200), patient)
    await vi.waitFor(() => expect(dead()).toEqual(['first']), patient)
    await end()
    await registry.close()
  })
})

describeFull('confluent(), with the registry of the page and Apicurio behind it', () => {
  let registry: PrivateServer
  let id: number
  beforeAll(async () => {
    registry = await privateRegistry()
    const answer = await fetch(`${registry.url}/subjects/orders-value/versions`, {
      method: 'POST',
      headers: { 'content-type': 'application/vnd.schemaregistry.v1+json' },
      body: JSON.stringify({ schema: JSON.stringify(written.schema()) }),
    })
    ;({ id } = (await answer.json()) as { id: number })
  }, 600_000)
  afterAll(() => registry.dispose())

  it('PR-1 a bad body of each kind is dead-lettered, and the 200 behind it are handled', async () => {
    for (const [what, body] of spoiled(id)) {
      const { handled, dead, end } = await behind(body, registry.url, framed(id, data))
      await vi.waitFor(() => expect([what, handled.length, dead()]).toEqual([what, 200, ['first']]), patient)
      expect(handled[0]).toEqual({ orderId: 'o-1', note: null })
      await end()
    }
  })

  it('while it is stopped, and while it hangs, nothing is handled or dead, and all of it afterwards', async () => {
    const body = framed(id, data)
    await registry.stop()
    const stopped = await behind(body, registry.url, body)
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect([stopped.handled.length, stopped.dead()]).toEqual([0, []])
    await registry.start()
    await vi.waitFor(() => expect(stopped.handled).toHaveLength(201), patient)
    await stopped.end()
    await registry.kill('SIGSTOP')
    const hanging = await behind(body, registry.url, body)
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect([hanging.handled.length, hanging.dead()]).toEqual([0, []])
    await registry.kill('SIGCONT')
    await vi.waitFor(() => expect(hanging.handled).toHaveLength(201), patient)
    expect([stopped.dead(), hanging.dead()]).toEqual([[], []])
    await hanging.end()
  })
})
