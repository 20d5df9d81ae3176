import { describe, expect, it } from 'vitest'
import { style } from '../../src/dashboard/style.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { filledStore, lanes } from './filled.ts'
import { browserOf, emptyStore, entered } from './support.ts'
import { operatorPage } from '../../src/dashboard/index.ts'
import { treeOf, type Node } from './tree.ts'

// There is no screen reader here. This is what one reads: names, roles, order and the relations between them.

const ofLane = new URLSearchParams({ scope: lanes[0]?.scope ?? '', lane: lanes[0]?.lane ?? '' }).toString()
const pages = [
  ...['', 'letters', 'letters?group=g1&state=all', 'letters?before=1.1', 'letters/1', 'letters/2', 'letters/3'],
  ...['letters/4', 'letters/5', 'letters/1/edit', 'letters/2/edit', 'letters/drop?all=1', 'redrives', 'redrives/1'],
  ...['redrives/2', 'redrives/3', 'redrives/new?all=1', 'outbox', 'outbox?after=7', 'keys', 'keys?key=order-1&stale=0'],
  ...[`keys/lane?${ofLane}`, 'message', 'message?id=order-1', 'log', 'letters?done=dropped&n=2'],
  ...['letters?since=yesterday', 'redrives/new'],
]
/** What belongs to no part of the page. */
const nowhere = ['nonsense', 'letters/99', 'redrives/99', 'keys/lane?scope=a&lane=b']
const clock = fakeClock({ wallMs: Date.UTC(2026, 6, 1, 12, 5) })

const focusable = (root: Node): readonly Node[] =>
  root.all.filter(
    (node) =>
      (['a', 'button', 'summary', 'select', 'textarea'].includes(node.tag) ||
        (node.tag === 'input' && node.get('type') !== 'hidden') ||
        node.get('tabindex') === '0') &&
      node.get('tabindex') !== '-1',
  )

async function shown(path: string): Promise<Node> {
  const { get } = entered(filledStore(), { circuits: () => [circuit], traceUrl: 'http://jaeger/{trace}', clock })
  return treeOf((await get(`/${path}`)).text)
}
const circuit = { name: 'api', state: 'open', sinceMs: 0, detail: 'probes' } as const

describe.each([...pages, ...nowhere])('/%s', (path) => {
  it('has a language, a title, landmarks, and a skip link before all else', async () => {
    const page = await shown(path)
    expect(page.find('html')[0]?.get('lang')).toBe('en')
    expect(page.find('title')[0]?.text).toMatch(/^\S.* · holdfast$/)
    const [main, ...mains] = page.find('main')
    expect([main?.get('id'), main?.get('tabindex'), mains]).toEqual(['main', '-1', []])
    expect(page.find('header').filter((node) => !node.within('section') && !node.within('main'))).toHaveLength(1)
    const named = page.all.filter((node) => node.tag === 'nav' || node.get('role') === 'region')
    expect(named.map((node) => node.get('aria-label') ?? '').filter((name) => name.trim() === '')).toEqual([])
    const landmarks = named.map((node) => `${node.tag} ${node.get('aria-label') ?? ''}`)
    expect(landmarks.filter((name, at) => landmarks.indexOf(name) !== at)).toEqual([])
    const [skip] = focusable(page)
    expect([skip?.get('href'), skip?.text]).toEqual(['#main', 'Skip to the content'])
  })

  it('has one first heading, and none that leaves out a level', async () => {
    const levels = (await shown(path)).find('h1', 'h2', 'h3', 'h4').map(({ tag, text }) => {
      expect(text).not.toBe('')
      return Number(tag.slice(1))
    })
    expect(levels.filter((level) => level === 1)).toHaveLength(1)
    levels.forEach((level, at) => expect(level - (levels[at - 1] ?? 0), `heading ${at + 1}`).toBeLessThanOrEqual(1))
  })

  it('says where one is, in the one navigation', async () => {
    const current = (await shown(path)).all.filter((node) => node.get('aria-current') !== undefined)
    expect(current.map((node) => [node.get('aria-current'), node.within('nav')])).toEqual(
      nowhere.includes(path) ? [] : [['page', true]],
    )
  })

  it('names each field, button, link and table, and no relation leads nowhere', async () => {
    const page = await shown(path)
    const ids = page.all.flatMap((node) => node.get('id') ?? [])
    expect(ids.filter((id, at) => ids.indexOf(id) !== at)).toEqual([])
    const labels = new Map(page.find('label').map((label) => [label.get('for'), label.text]))
    for (const target of labels.keys()) expect(ids).toContain(target)
    for (const node of page.all)
      for (const relation of ['aria-describedby', 'aria-labelledby', 'aria-controls'])
        for (const id of node.get(relation)?.split(' ') ?? []) expect(ids, `${node.tag} ${relation}`).toContain(id)
    for (const node of page.find('input', 'select', 'textarea').filter((each) => each.get('type') !== 'hidden')) {
      const name = node.get('aria-label') ?? labels.get(node.get('id')) ?? ''
      expect(name, [...node.attributes].join(' ')).toMatch(/\S/)
    }
    for (const node of page.find('a', 'button', 'summary', 'progress', 'fieldset', 'th'))
      expect(node.tag === 'fieldset' ? (node.find('legend')[0]?.text ?? node.text) : node.name, node.tag).toMatch(/\S/)
    for (const table of page.find('table')) {
      expect(table.find('caption').map(({ text }) => text.length > 0)).toEqual([true])
      const [head, ...rows] = table.find('tr')
      expect(head?.find('th').every((cell) => cell.get('scope') === 'col')).toBe(true)
      for (const row of rows) {
        expect(row.find('th').map((cell) => cell.get('scope'))).toEqual(['row'])
        expect(row.find('th', 'td')).toHaveLength(head?.find('th').length ?? 0)
      }
    }
    // What scrolls must be reached by the keyboard, and say what it is.
    for (const node of page.all.filter((each) => each.tag === 'pre' || each.get('class') === 'scroll'))
      expect([node.get('tabindex'), node.get('role'), node.name !== '']).toEqual(['0', 'region', true])
    for (const node of page.find('img')) expect(node.get('alt')).toBeDefined()
  })

  it('tells acts apart by their names, and is walked in the order in which it is read', async () => {
    const page = await shown(path)
    const main = page.find('main')[0] ?? expect.fail('no main')
    const acts = main.find('button', 'summary').map((node) => {
      const form = node.all.length === 0 ? node.parent : undefined
      return `${node.tag} ${node.name} ${node.get('formaction') ?? form?.get('action') ?? ''}`
    })
    expect(acts.filter((name, at) => acts.indexOf(name) !== at)).toEqual([])
    const positive = page.all.filter((node) => Number(node.get('tabindex') ?? 0) > 0)
    expect([positive, page.all.filter((node) => node.get('autofocus') !== undefined)]).toEqual([[], []])
  })
})

describe('the page as a whole', () => {
  it('has another title for each page', async () => {
    const asked = ['', 'letters', 'redrives', 'outbox', 'keys', 'message', 'log', 'letters/1', 'redrives/1']
    const titles = await Promise.all(asked.map(async (path) => (await shown(path)).find('title')[0]?.text))
    expect(new Set(titles).size).toBe(asked.length)
  })

  it('tells what was done, and what was refused, to who does not see it', async () => {
    const role = async (path: string) =>
      (await shown(path)).all.filter((node) => /^note /.test(node.get('class') ?? ''))
    expect((await role('letters?done=dropped&n=2')).map((node) => node.get('role'))).toEqual(['status'])
    expect((await role('letters?since=yesterday')).map((node) => node.get('role'))).toEqual(['alert'])
    const [status] = (await shown('')).all.filter((node) => node.get('data-status') !== undefined)
    expect(status?.get('role')).toBe('status')
  })

  it('is the same without anybody signed in, and where there is nothing', async () => {
    const nobody = browserOf(operatorPage({ store: emptyStore(), auth: () => null }))
    for (const text of [(await nobody.get('/')).text, (await entered(emptyStore()).get('/')).text]) {
      const page = treeOf(text)
      expect([page.find('h1').length, page.find('main').length, focusable(page)[0]?.get('href')]).toEqual([
        1,
        1,
        '#main',
      ])
    }
  })

  it('has colours that are told apart, in light and in dark, and shows where the focus is', () => {
    const [light = '', dark = ''] = [...style.matchAll(/:root\s*\{([^}]*)\}/g)].map(([, body]) => body)
    for (const scheme of [light, `${light};${dark}`]) {
      const colours = new Map(
        [...scheme.matchAll(/--([a-z-]+):\s*(#[\da-f]{3,6})\b/g)].map(([, name = '', colour = '']) => [name, colour]),
      )
      const ratio = (a: string, b: string) => contrast(colours.get(a) ?? '', colours.get(b) ?? '')
      for (const under of ['page', 'card', 'soft'])
        for (const text of ['text', 'dim', 'accent', 'bad', 'warn', 'good'])
          expect(ratio(text, under), `${text} on ${under}`).toBeGreaterThanOrEqual(4.5)
      for (const tone of ['bad', 'warn', 'good'])
        for (const text of [tone, 'text'])
          expect(ratio(text, `${tone}-soft`), `${text} on ${tone}-soft`).toBeGreaterThanOrEqual(4.5)
      expect(ratio('accent-text', 'accent')).toBeGreaterThanOrEqual(4.5)
      expect(ratio('focus', 'card')).toBeGreaterThanOrEqual(3)
    }
    expect(style).toMatch(/:focus-visible \{ outline: 3px/)
    expect(style).not.toMatch(/outline:\s*(?:0|none)|\border:\s*-?\d|(?:row|column|wrap)-reverse|float:/)
  })
})

/** By WCAG 2.2: 4.5 for text, 3 for what marks the focus. */
function contrast(a: string, b: string): number {
  const [low = 0, high = 0] = [luminance(a), luminance(b)].sort((x, y) => x - y)
  return (high + 0.05) / (low + 0.05)
}

function luminance(colour: string): number {
  const hex = colour.length === 4 ? colour.replace(/[\da-f]/g, '$&$&') : colour
  const [red = 0, green = 0, blue = 0] = [1, 3, 5].map((at) => {
    const part = parseInt(hex.slice(at, at + 2), 16) / 255
    return part <= 0.03928 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4
  })
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue
}
