import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { get, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { chromium as driver, type Browser, type Page } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest'
import type { SwitchName } from '../../../examples/coffee-store/page/switches.ts'
import { chromiumHere } from '../../../scripts/services/chromium.ts'
import { describeUnless } from '../../support/skipped.ts'
import { root } from '../run.ts'

const fromSource = pathToFileURL(join(root, 'test/examples/from-source.ts')).href
const patient = { timeout: 30_000, interval: 100 }
const executablePath = chromiumHere()
let browser: Browser
let store: ChildProcess

/** The store as `npm run demo -- --page` opens it, and a browser that looks at it. */
async function open(...flags: readonly string[]): Promise<Page & { readonly faults: readonly string[] }> {
  const main = join(root, 'examples/coffee-store/main.ts')
  const args = [
    '--disable-warning=TimeoutNegativeWarning',
    '--import',
    fromSource,
    main,
    '--page',
    '--port',
    '0',
    ...flags,
  ]
  store = spawn(process.execPath, args, { cwd: root, stdio: ['ignore', 'pipe', 'inherit'] })
  const [printed] = (await once(store.stdout ?? store, 'data')) as [Buffer]
  const [url = ''] = printed.toString().split('\n')
  const page = await browser.newPage()
  const faults: string[] = []
  page.on('pageerror', (error) => faults.push(error.message))
  page.on('console', (message) => message.type() === 'error' && faults.push(message.text()))
  await page.goto(url)
  return Object.assign(page, { faults })
}

/** What stands in one column of a service's row. */
async function cell(page: Page, service: string, column: string): Promise<string> {
  const heads = await page.locator('#services thead th').allTextContents()
  const cells = await page.locator(`#service-${service} > *`).allTextContents()
  return (cells[heads.indexOf(column)] ?? '').trim()
}
const count = async (page: Page, service: string, column: string): Promise<number> =>
  Number((await cell(page, service, column)).replaceAll(',', ''))
const fact = async (page: Page, name: string): Promise<number> =>
  Number(((await page.locator(`#shop div:has(dt:text-is("${name}")) dd`).textContent()) ?? '').replaceAll(/\D/g, ''))
const audited = async (page: Page): Promise<string> =>
  (await page.locator('#audit').innerText()).replaceAll(/\s+/g, ' ')

/** Presses a button of the page, waits for what it shows, puts it back, and waits until all that waited is done. */
async function breakAndMend(page: Page, name: SwitchName, shows: () => Promise<unknown>): Promise<void> {
  const button = page.locator(`#switch-${name}`)
  await button.click()
  await expect.poll(() => button.getAttribute('aria-pressed'), patient).toBe('true')
  await shows()
  await button.click()
  await expect.poll(() => button.getAttribute('aria-pressed'), patient).toBe('false')
  for (const service of ['order', 'stock', 'payment', 'customer']) {
    await expect.poll(() => cell(page, service, 'state'), patient).toBe('runs')
    await expect.poll(() => count(page, service, 'waiting'), patient).toBeLessThan(6)
  }
  expect(await page.locator('#verdict').innerText()).toBe('✓ 0 lost, 0 doubled, 0 out of order')
  expect(await audited(page)).toMatch(
    /^lost ✓ 0 of [\d,]+: .* doubled ✓ 0 of .* out of order ✓ 0 .* dead letters ✓ .* clicks ✓ /,
  )
}

describeUnless(
  executablePath === undefined ? 'there is no Chromium' : undefined,
  'the page of the coffee store',
  () => {
    beforeAll(async () => {
      browser = await driver.launch({
        ...(executablePath !== undefined && { executablePath }),
        args: ['--no-sandbox', '--disable-gpu'],
      })
    })
    afterAll(() => browser.close())
    afterEach(async () => {
      const ended = once(store, 'exit')
      store.kill('SIGINT')
      await ended
    })

    it('shows each switch, and its text agrees with the audit after each of them', { timeout: 180_000 }, async () => {
      const page = await open('--seed', '7')
      const grows = (service: string, column: string) => async () => {
        const before = await count(page, service, column)
        await expect.poll(() => count(page, service, column), patient).toBeGreaterThan(before + 2)
      }
      await breakAndMend(page, 'payments', async () => {
        await expect.poll(() => cell(page, 'payment', 'state'), patient).toMatch(/^circuit (open|half-open)$/)
        await expect.poll(() => count(page, 'payment', 'waiting'), patient).toBeGreaterThan(8)
      })
      await breakAndMend(page, 'stock', async () => {
        await expect.poll(() => cell(page, 'stock', 'state'), patient).toBe('killed')
        await expect.poll(() => count(page, 'stock', 'waiting'), patient).toBeGreaterThan(8)
      })
      await breakAndMend(page, 'twice', grows('order', 'duplicates stopped'))
      await breakAndMend(page, 'poison', grows('customer', 'dead letters'))
      await breakAndMend(page, 'database', async () => {
        await expect.poll(() => count(page, 'order', 'ms'), patient).toBeGreaterThan(400)
      })
      await breakAndMend(page, 'relay', async () => {
        await expect.poll(() => fact(page, 'in the outbox'), patient).toBeGreaterThan(8)
      })
      const [looks, orders] = [await fact(page, 'looks'), await fact(page, 'orders')]
      await page.click('button[aria-label="Look at espresso"]')
      await page.click('button:has-text("Order 100 at once")')
      await expect.poll(() => fact(page, 'looks'), patient).toBeGreaterThan(looks)
      await expect.poll(() => fact(page, 'orders'), patient).toBeGreaterThanOrEqual(orders + 100)
      expect(await page.locator('#notes').innerText()).toContain('the relay goes on')
      expect(await page.locator('svg').getAttribute('aria-label')).toMatch(/^Looks in 15 s: espresso \d+, /)
      expect(page.faults).toEqual([])
    })

    it('--naive: shows what is lost, and says so', { timeout: 180_000 }, async () => {
      const page = await open('--naive')
      await page.click('#switch-payments')
      await page.click('#switch-twice')
      const verdict = () => page.locator('#verdict').innerText()
      await expect.poll(verdict, patient).toMatch(/lost, [1-9]\d* doubled/)
      // An order counts as lost once a later one of its customer was charged: that needs the payment API.
      await page.click('#switch-payments')
      await expect.poll(verdict, patient).toMatch(/^✗ [1-9]\d* lost, [1-9]/)
      expect(await audited(page)).toMatch(/^lost ✗ [1-9]/)
    })

    it('works without its script, on a narrow screen, and for nobody else', { timeout: 180_000 }, async () => {
      const url = (await open()).url()
      const context = await browser.newContext({ javaScriptEnabled: false, viewport: { width: 360, height: 740 } })
      const plain = await context.newPage()
      await plain.goto(url)
      await plain.click('#switch-relay')
      await plain.waitForURL(url)
      await expect.poll(() => plain.locator('#switch-relay').getAttribute('aria-pressed'), patient).toBe('true')
      await context.close()
      for (const colorScheme of ['light', 'dark'] as const) {
        const narrow = await browser.newPage({ viewport: { width: 360, height: 740 }, colorScheme })
        await narrow.goto(url)
        const over = await narrow.evaluate(
          'document.documentElement.scrollWidth - document.documentElement.clientWidth',
        )
        expect(over).toBe(0)
      }
      const { port } = new URL(url)
      const other = await fetch(`http://127.0.0.1:${port}/rush`, {
        method: 'POST',
        headers: { 'sec-fetch-site': 'cross-site' },
      })
      expect(other.status).toBe(403)
      expect((await fetch(`${url}switch/relay/maybe`, { method: 'POST' })).status).toBe(404)
      const rebound = get(url, { headers: { host: `evil.example:${port}` } })
      const [refused] = (await once(rebound, 'response')) as [IncomingMessage]
      expect(refused.resume().statusCode).toBe(421)
      for (const path of ['events', 'metrics']) expect((await fetch(url + path)).status).toBe(200)
    })
  },
)
