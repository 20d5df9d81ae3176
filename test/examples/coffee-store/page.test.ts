import { lintContracts } from 'holdfast/contracts'
import { describe, expect, it } from 'vitest'
import { services } from '../../../examples/coffee-store/contracts.ts'
import { liveAuditOf, type Figures } from '../../../examples/coffee-store/page/audit.ts'
import { Books } from '../../../examples/coffee-store/page/books.ts'
import { html } from '../../../examples/coffee-store/page/html.ts'
import { switchNames } from '../../../examples/coffee-store/page/switches.ts'
import { ClickCounts, slide } from '../../../examples/coffee-store/page/windows.ts'
import { serviceNames } from '../../../examples/coffee-store/plan.ts'
import { runExample } from '../run.ts'

const demo = 'examples/coffee-store/main.ts'
const playOnce = ['--page', '--once', '--json', '--seed', '7']

interface Told {
  readonly ok: boolean
  readonly orders: number
  readonly poison: number
  readonly clicks: number
  readonly shown: Readonly<Record<string, number>>
  readonly lost: number
  readonly doubled: number
  readonly outOfOrder: number
  readonly invariants: readonly { readonly name: string; readonly ok: boolean; readonly found: string }[]
}

it('--page --once: every switch shows, and the audit passes', { timeout: 120_000 }, async () => {
  const { code, stdout, stderr } = await runExample(demo, playOnce)
  expect(stderr).toBe('')
  const told = JSON.parse(stdout) as Told
  expect(told.invariants.filter(({ ok }) => !ok)).toEqual([])
  expect(told).toMatchObject({ ok: true, orders: 320, poison: 8, clicks: 480, lost: 0, doubled: 0, outOfOrder: 0 })
  for (const name of switchNames) expect(told.shown[name], name).toBeGreaterThan(0)
  expect(told.invariants.find(({ name }) => name === 'dead letters')?.found).toBe('32 of 32 poison, 0 others')
  expect(code).toBe(0)
})

it('--page --once --naive: the same handlers without holdfast fail the audit', { timeout: 120_000 }, async () => {
  const { code, stdout } = await runExample(demo, [...playOnce, '--naive'])
  const told = JSON.parse(stdout) as Told
  expect(told).toMatchObject({ ok: false, orders: 320, poison: 8, clicks: 480 })
  for (const count of [told.lost, told.doubled, told.outOfOrder]) expect(count).toBeGreaterThan(0)
  expect(told.invariants.filter(({ ok }) => !ok).map(({ name }) => name)).toContain('clicks')
  expect(code).toBe(1)
})

describe('the audit of the page', () => {
  const order = (sequence: number) =>
    ({ id: `order-${sequence}`, customer: 'ada', sequence, coffee: 'filter', cups: 1 }) as const
  const effect = (service: (typeof serviceNames)[number], sequence: number) =>
    ({ service, order: `order-${sequence}`, customer: 'ada', sequence, amount: 1 }) as const

  /** Three orders of one customer, the second of them poison, after which everything went right. */
  function booksOfThree(): Books {
    const books = new Books()
    for (const sequence of [1, 2, 3]) books.place({ order: order(sequence), poison: sequence === 2 })
    return books
  }
  function flawless(books: Books, but: (service: string, sequence: number) => boolean = () => false): Books {
    for (const service of serviceNames) {
      if (!but(service, 1)) books.effect(effect(service, 1))
      if (!but(service, 2)) books.letter(service, 'order-2')
      if (!but(service, 3)) books.effect(effect(service, 3))
    }
    return books
  }
  const failing = (figures: Figures, closed = true, sent = 5) =>
    liveAuditOf(figures, sent, { closed })
      .invariants.filter(({ ok }) => !ok)
      .map(({ name }) => name)

  it('passes where all went right', () => {
    expect(failing(flawless(booksOfThree()).figures(5))).toEqual([])
  })

  it('counts what is on its way as neither lost nor done, until the books are closed', () => {
    const books = booksOfThree()
    const audit = liveAuditOf(books.figures(0), 5, { closed: false })
    expect(audit).toMatchObject({ ok: true, lost: 0, waiting: 12 })
    expect(failing(books.figures(5))).toEqual(['lost', 'dead letters'])
  })

  it('sees an order that was passed over while the store is open', () => {
    const books = flawless(booksOfThree(), (service, sequence) => service === 'stock' && sequence === 1)
    expect(failing(books.figures(5), false)).toEqual(['lost'])
    books.effect(effect('stock', 1))
    expect(failing(books.figures(5), false)).toEqual(['out of order'])
  })

  it('sees a poison order without its letter, and a good one with one', () => {
    const lost = flawless(booksOfThree(), (service, sequence) => service === 'order' && sequence === 2)
    expect(failing(lost.figures(5))).toEqual(['lost', 'dead letters'])
    const buried = flawless(booksOfThree(), (service, sequence) => service === 'order' && sequence === 3)
    buried.letter('order', 'order-3')
    expect(failing(buried.figures(5))).toEqual(['dead letters'])
  })

  it('sees an effect twice, also of an order that was closed long ago, and one that nobody ordered', () => {
    const twice = flawless(booksOfThree())
    twice.effect(effect('payment', 3))
    expect(failing(twice.figures(5))).toEqual(['doubled'])
    const strange = flawless(booksOfThree())
    strange.effect({ ...effect('payment', 3), order: 'order-99' })
    expect(failing(strange.figures(5))).toEqual(['dead letters'])
  })

  it('sees a click that was counted twice, and at the end one that was not', () => {
    const { figures } = { figures: flawless(booksOfThree()).figures(6) }
    expect(failing(figures, false)).toEqual(['clicks'])
    expect(failing(flawless(booksOfThree()).figures(4))).toEqual(['clicks'])
    expect(failing(flawless(booksOfThree()).figures(4), false)).toEqual([])
  })
})

it('slides a window of 15 s by one second, and a late click is right at the next look', () => {
  const counts = new ClickCounts()
  const now = Math.floor(Date.now() / 1000)
  counts.add('filter', now * 1000)
  counts.add('filter', (now - 14) * 1000)
  expect(slide(counts.recent(), 'filter', now).at(-1)).toBe(2)
  expect(slide(counts.recent(), 'filter', now + 1).at(-1)).toBe(1)
  counts.add('filter', (now - 20) * 1000)
  expect(slide(counts.recent(), 'filter', now).at(-1)).toBe(2)
  expect(slide(counts.recent(), 'filter', now).at(-7)).toBe(2)
  expect(slide(counts.recent(), 'espresso', now)).toEqual(Array.from({ length: 60 }, () => 0))
})

it('escapes what is put into its markup', () => {
  expect(html`<b title="${'"><script>'}">${"<&'"}</b>`.text).toBe(
    '<b title="&#34;&#62;&#60;script&#62;">&#60;&#38;&#39;</b>',
  )
})

it('has contracts without a finding', () => {
  expect(lintContracts(services)).toEqual([])
})
