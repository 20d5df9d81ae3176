import { chromium as driver, type Browser } from 'playwright-core'
import { afterAll, afterEach, beforeAll, expect, it, vi } from 'vitest'
import { z } from 'zod'
import { chromium } from '../../scripts/services/chromium.ts'
import { catalogue, contract, service } from '../../src/contracts/index.ts'
import { hostileTexts } from '../dashboard/hostile.ts'
import { describeFull } from '../support/skipped.ts'

// Taken out for one test: what the policy is for.
const escaping = vi.hoisted(() => ({ off: false }))
vi.mock(import('../../src/dashboard/escape.ts'), async (original) => {
  const real = await original()
  return {
    escapeText: (text) => (escaping.off ? text : real.escapeText(text)),
    escapeMarkup: (text) => (escaping.off ? text : real.escapeMarkup(text)),
  }
})

/** A catalogue with that text in every field that a contract can fill. */
function pageOf(text: string): string {
  const short = text.slice(-300)
  const event = contract(short, {
    version: 1,
    schema: z.object({ [short]: z.string().describe(text).default(short), kind: z.enum([short]) }),
    owner: text,
    why: text,
    destination: short,
    examples: [{ kind: short }] as never,
    deprecated: { since: short, until: '9999', instead: short },
  })
  const one = service(short, { owner: text, does: text, publishes: [event], consumes: [event] })
  return catalogue([one], { title: text })
}

const withoutPolicy = (page: string): string => {
  const bare = page.replace(/<meta\s+http-equiv="content-security-policy"[^>]*>/, '')
  expect(bare).not.toBe(page)
  return bare
}

describeFull('the catalogue in Chromium', () => {
  let browser: Browser
  beforeAll(async () => {
    const executablePath = await chromium((line) => console.error(`chromium: ${line}`))
    browser = await driver.launch({ executablePath, args: ['--no-sandbox', '--disable-gpu'] })
  }, 600_000)
  afterAll(() => browser.close())
  afterEach(() => void (escaping.off = false))

  /** How many of the texts ran. */
  async function ran(pages: readonly string[]): Promise<number> {
    let count = 0
    for (const page of pages) {
      const tab = await browser.newPage()
      await tab.setContent(page, { waitUntil: 'load' })
      await tab.waitForTimeout(50)
      if (await tab.evaluate('window.pwned === 1')) count++
      await tab.close()
    }
    return count
  }

  it('runs nothing of ten hostile texts in every field, also without its policy', { timeout: 120_000 }, async () => {
    expect(await ran(hostileTexts.map(pageOf).map(withoutPolicy))).toBe(0)
    escaping.off = true
    expect(await ran(hostileTexts.map(pageOf).map(withoutPolicy))).toBeGreaterThanOrEqual(3)
  })

  it('runs nothing under its policy, even if all escaping were lost', { timeout: 120_000 }, async () => {
    escaping.off = true
    expect(await ran(hostileTexts.map(pageOf))).toBe(0)
  })
})
