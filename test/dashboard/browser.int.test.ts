import { createServer } from 'node:http'
import { chromium as driver, type Browser, type BrowserContext, type Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest'
import { chromium } from '../../scripts/services/chromium.ts'
import { headersFrom } from '../../src/core/message.ts'
import { nodeListener, operatorPage, type OperatorPageOptions } from '../../src/dashboard/index.ts'
import { postgresOperatorStore } from '../../src/stores/postgres/index.ts'
import { service } from '../stores/postgres/dead-letter-support.ts'
import { serviceAddress } from '../support/services.ts'
import { describeFull } from '../support/skipped.ts'
import { hostileTexts } from './hostile.ts'

// Taken out for one test: what the policy is for.
const escaping = vi.hoisted(() => ({ off: false }))
vi.mock(import('../../src/dashboard/escape.ts'), async (original) => {
  const real = await original()
  return {
    escapeText: (text) => (escaping.off ? text : real.escapeText(text)),
    escapeMarkup: (text) => (escaping.off ? text : real.escapeMarkup(text)),
  }
})

const token = 'b'.repeat(40)
const closing: (() => unknown)[] = []
let browser: Browser

type Serving = Partial<OperatorPageOptions> & { readonly withoutPolicy?: boolean }

async function given({ withoutPolicy = false, ...options }: Serving = {}) {
  const made = await service()
  const operator = postgresOperatorStore(made.pool, { schema: made.schema, letters: made.letters })
  const page = operatorPage({
    store: operator,
    loopback: { token, name: 'ana' },
    readOnly: false,
    cacheMs: 0,
    ...options,
  })
  const bare = async (request: Request): Promise<Response> => {
    const response = await page(request)
    if (withoutPolicy) response.headers.delete('content-security-policy')
    return response
  }
  const server = createServer(nodeListener(bare)).listen(0, '127.0.0.1')
  await new Promise((resolve) => server.once('listening', resolve))
  const at = `http://localhost:${(server.address() as { port: number }).port}`
  const context = await browser.newContext()
  const tab = await context.newPage()
  closing.push(
    () => context.close(),
    () => (server.closeAllConnections(), server.close()),
    () => made.dispose(),
  )
  await tab.goto(`${at}/?token=${token}`)
  const acts = async () => (await made.letters.log()).map(({ by, act }) => `${by} ${act}`)
  return { ...made, at, tab, context, acts }
}

/** A letter with that text in every field that a message or an error can fill. */
async function bury({ made, letters, schema, pool }: Awaited<ReturnType<typeof given>>, text: string): Promise<void> {
  const short = text.slice(-400)
  const failing = made(short)
  await failing.dispatch({
    message: {
      id: `${text}${Math.random()}`,
      key: text,
      type: text,
      body: Buffer.from(JSON.stringify({ [text]: text })),
      headers: headersFrom([
        [text, text],
        ['list', [text, text]],
        ['bytes', Buffer.from([255, 60])],
        ['traceparent', text],
      ]),
    },
    origin: { system: short, destination: text, partition: text, position: text, group: text },
  })
  const { letters: newest } = await letters.list({}, { limit: 1, order: 'newest' })
  await pool.query(
    `update ${schema}.dead_letter set error_name = $2, error_message = $2, error_code = $2, error_stack = $2, reason = $2,
  subject = $2, claim_scope = $2, claim_key = $2, trace_id = $2, fingerprint = $3 where id = $1`,
    [newest[0]?.id, text.toWellFormed().replaceAll('\0', ''), short.toWellFormed().replaceAll('\0', '')],
  )
}

const allPages = [
  '/',
  '/letters',
  '/redrives',
  '/outbox',
  '/keys?stale=0',
  '/log',
  '/redrives/new?all=1',
  '/letters/drop?all=1',
]

async function pwnedOn(tab: Page, at: string, paths: readonly string[]): Promise<string[]> {
  const where: string[] = []
  for (const path of paths) {
    await tab.goto(`${at}${path}`, { waitUntil: 'load' })
    await tab.waitForTimeout(50)
    if (await tab.evaluate('window.pwned === 1')) where.push(path)
  }
  return where
}

describeFull('the page in Chromium', () => {
  beforeAll(async () => {
    serviceAddress('postgres')
    const executablePath = await chromium((line) => console.error(`chromium: ${line}`))
    browser = await driver.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] })
  }, 600_000)
  afterAll(() => browser.close())
  afterEach(async () => {
    escaping.off = false
    for (const close of closing.splice(0)) await close()
  })

  it(
    'D-23 runs nothing of ten hostile texts in every field, and shows what cannot be seen',
    { timeout: 300_000 },
    async () => {
      const all = await given()
      const { at, tab, letters, pool, schema, store } = all
      const faults: string[] = []
      tab.on('pageerror', (error) => faults.push(error.message))
      tab.on('request', (request) => request.url().startsWith(at) || faults.push(request.url()))
      for (const text of hostileTexts) {
        await bury(all, text)
        const key = text.slice(-300).toWellFormed().replaceAll('\0', '')
        await store.claim({ scope: key, key, owner: key, leaseMs: 60_000, fingerprint: null })
        await letters.note({ by: text, act: text, detail: { [text]: text } })
        await letters.create({ text: key.slice(-20) }, {}, text)
      }
      await pool.query(
        `insert into ${schema}.outbox_dead (id, topic, key, type, message_id, created_at, error)
select n, t, t, t, t, now(), t from unnest($1::text[]) with ordinality x (t, n)`,
        [hostileTexts.map((text) => text.toWellFormed().replaceAll('\0', ''))],
      )
      const ids = (await letters.list({}, { limit: 50 })).letters.map(({ id }) => id)
      expect(ids).toHaveLength(hostileTexts.length)
      const paths = [
        ...allPages,
        ...ids.flatMap((id) => [`/letters/${id}`, `/letters/${id}/edit`, `/message?letter=${id}`]),
        ...hostileTexts.slice(0, 9).flatMap((text) => {
          const value = encodeURIComponent(text.toWellFormed())
          return ['group', 'key', 'pipeline', 'text', 'nonsense']
            .map((name) => `/letters?${name}=${value}`)
            .concat([
              `/keys?key=${value}&scope=${value}`,
              `/message?id=${value}`,
              `/redrives/new?pipeline=${value}`,
              `/letters?done=${value}&n=${value}`,
            ])
        }),
      ]
      expect(await pwnedOn(tab, at, paths)).toEqual([])
      expect(faults).toEqual([])
      await tab.goto(`${at}/letters/${ids[1]}`)
      expect(await tab.textContent('dl')).toContain('\\u202egnp.exe')
      await tab.click('text=Reveal the body')
      expect(await tab.textContent('pre[aria-label="Body"]')).toContain('pwned')
      expect(await tab.evaluate('window.pwned')).toBeUndefined()
    },
  )

  it(
    'runs nothing where escaping is taken out and the policy stays, and something where both are out',
    { timeout: 300_000 },
    async () => {
      const withPolicy = await given()
      const without = await given({ withoutPolicy: true })
      for (const each of [withPolicy, without]) for (const text of hostileTexts.slice(0, 9)) await bury(each, text)
      const paths = ['/', '/letters', ...Array.from({ length: 9 }, (_, n) => `/letters/${n + 1}`)]
      escaping.off = true
      expect(await pwnedOn(withPolicy.tab, withPolicy.at, paths)).toEqual([])
      expect((await pwnedOn(without.tab, without.at, paths)).length).toBeGreaterThan(2)
    },
  )

  it('acts by its buttons: redrive, pause, resume, cancel, drop, restore, edit, reveal, download, unblock and forget', async () => {
    const all = await given()
    const { at, tab, send, letters, acts, pool, schema, store } = all
    for (let n = 0; n < 4; n++) await send(`m${n}`, { key: `k${n}`, body: '{"a":\n"secret"}' })
    await tab.goto(at)
    await tab.click('a:has-text("Redrive…")')
    await tab.fill('#rate', '5')
    await tab.fill('#canary', '1')
    await tab.fill('#number', '4')
    await tab.click('button:has-text("Redrive 4 letters")')
    expect(tab.url()).toMatch(/redrives\/1\?done=redrive-made$/)
    await tab.click('main button:text-is("Pause")')
    await tab.click('main button:text-is("Resume")')
    await tab.click('summary:has-text("Cancel")')
    await tab.click('details button:has-text("Cancel")')
    expect(await tab.textContent('main')).toContain('Cancelled.')
    await tab.goto(`${at}/letters/1`)
    await tab.click('summary:has-text("Drop")')
    await tab.click('details button:has-text("Drop")')
    expect(await tab.textContent('h1')).toContain('dropped')
    await tab.click('button:has-text("Restore")')
    await tab.click('a:has-text("Edit…")')
    await tab.click('button:has-text("Reveal the body")')
    expect(await tab.inputValue('#text')).toBe('{"a":\n"secret"}')
    await tab.fill('#text', '{"a":\n"mended"}')
    await tab.click('button:has-text("Make the new letter")')
    const id = /letters\/(\d+)/.exec(tab.url())?.[1] ?? ''
    expect(Buffer.from((await letters.letter(id))?.body ?? []).toString()).toBe('{"a":\n"mended"}')
    const [download] = await Promise.all([
      tab.waitForEvent('download'),
      tab.click('button:has-text("Download the body")'),
    ])
    expect(download.suggestedFilename()).toBe(`letter-${id}.bin`)
    await tab.goto(`${at}/letters`)
    for (const box of await tab.locator('input[type=checkbox][name=ids]').all()) await box.check()
    await tab.click('button:has-text("Drop…")')
    await tab.fill('#number', '4')
    await tab.click('button:has-text("Drop 4 letters")')
    expect(await tab.textContent('main')).toContain('4 letters dropped.')
    await store.claim({ scope: 's', key: 'a\r\nb', owner: 'o', leaseMs: 60_000, fingerprint: null })
    await pool.query(`update ${schema}.idempotency set lease_until = now() - interval '1 h'`)
    await tab.goto(`${at}/keys`)
    await tab.click('button:has-text("Unblock")')
    expect(await tab.textContent('main')).toContain('The key can be claimed again.')
    await tab.goto(`${at}/keys?key=${encodeURIComponent('a\r\nb')}`)
    await tab.click('summary:has-text("Forget")')
    await tab.click('details button:has-text("Forget")')
    expect(await tab.textContent('main')).toContain('The key is forgotten.')
    expect((await acts()).toReversed()).toEqual([
      ...['ana redrive', 'ana pause', 'ana resume', 'ana cancel', 'ana drop', 'ana restore', 'ana reveal', 'ana edit'],
      ...['ana reveal', 'ana drop', 'ana drop', 'ana drop', 'ana drop', 'ana keys unblock', 'ana idempotency forget'],
    ])
  })

  it('does nothing for another site: no form, no frame, no script of it', async () => {
    const { at, context, send, rows } = await given()
    await send('m1')
    const form = `<form id=f method=post action="${at}/letters/drop"><input name=letter value=1></form>`
    const evil = createServer((_, response) =>
      response
        .setHeader('content-type', 'text/html')
        .end(`${form}<iframe src="${at}/"></iframe><script src="${at}/letters"></script><script>f.submit()</script>`),
    ).listen(0, '127.0.0.1')
    closing.push(() => (evil.closeAllConnections(), evil.close()))
    const tab = await context.newPage()
    const framed: string[] = []
    tab.on(
      'frameattached',
      (frame) =>
        void frame.waitForLoadState().then(
          async () => framed.push(await frame.content()),
          () => {},
        ),
    )
    // A sibling port of localhost is the same site: the cookie comes, and it is refused all the same.
    await tab.goto(`http://localhost:${(evil.address() as { port: number }).port}/`).catch(() => {})
    await tab.waitForLoadState('networkidle')
    expect(await tab.textContent('body')).toContain('Nothing was done')
    expect(framed.join('')).not.toContain('Dead letters')
    expect(await rows('state')).toEqual([{ state: 'dead' }])
  })

  it('is not reached under another name that leads to this machine', async () => {
    const { at } = await given()
    const executablePath = await chromium(() => {})
    const rebound = await driver.launch({
      executablePath,
      args: ['--no-sandbox', '--host-resolver-rules=MAP evil.example 127.0.0.1'],
    })
    closing.push(() => rebound.close())
    const tab = await rebound.newPage()
    const got = await tab.goto(`${at.replace('localhost', 'evil.example')}/?token=${token}`)
    expect(got?.status()).toBe(421)
    expect(await tab.context().cookies()).toEqual([])
  })

  it('refreshes what is looked at, but not what is used, and stops when told', async () => {
    const { at, tab, send } = await given()
    await tab.clock.install()
    await tab.goto(at)
    await send('m1')
    await tab.clock.runFor(6000)
    await tab.waitForSelector('text=PermanentError')
    await tab.click('button:has-text("Pause updates")')
    await send('m2')
    await tab.clock.runFor(20_000)
    expect(await tab.textContent('.tile .number')).toBe('1')
    await tab.click('button:has-text("Resume updates")')
    await tab.clock.runFor(6000)
    await expect.poll(() => tab.textContent('.tile .number')).toBe('2')
  })

  it('works without its script, by the keyboard alone, and on a narrow screen', async () => {
    const { at, send, context, rows } = await given()
    await send('m1')
    const cookies = await context.cookies()
    const plain: BrowserContext = await browser.newContext({
      javaScriptEnabled: false,
      viewport: { width: 360, height: 700 },
    })
    closing.push(() => plain.close())
    await plain.addCookies(cookies)
    const tab = await plain.newPage()
    await tab.goto(`${at}/letters/1`)
    await tab.keyboard.press('Tab')
    await tab.keyboard.press('Enter')
    expect(tab.url()).toContain('#main')
    const drop = tab.locator('summary:has-text("Drop")')
    await drop.focus()
    await tab.keyboard.press('Enter')
    await tab.keyboard.press('Tab')
    await tab.keyboard.press('Enter')
    await tab.waitForURL(/done=dropped/)
    expect(await rows('state')).toEqual([{ state: 'dropped' }])
    const wide = await browser.newContext({ viewport: { width: 360, height: 700 } })
    closing.push(() => wide.close())
    await wide.addCookies(cookies)
    const narrow = await wide.newPage()
    for (const path of [...allPages, '/letters/1', '/message?id=m1']) {
      await narrow.goto(`${at}${path}`)
      const over = await narrow.evaluate('document.documentElement.scrollWidth - document.documentElement.clientWidth')
      expect(over, path).toBe(0)
    }
  })
})
