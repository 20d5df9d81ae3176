import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { expect, it } from 'vitest'

const root = join(import.meta.dirname, '../..')
const pages = readdirSync(join(root, 'docs'), { recursive: true, encoding: 'utf8' }).filter((name) =>
  name.endsWith('.md'),
)
const read = (page: string): string => readFileSync(join(root, page), 'utf8')

/** Links to files of this repository, without what points into them. */
function linksOf(page: string): string[] {
  const text = read(page).replaceAll(/```[\s\S]*?```/g, '')
  const links = [...text.matchAll(/\]\(([^)\s]+)\)/g)].map(([, link = '']) => link)
  return links.filter((link) => !/^[a-z]+:/.test(link))
}

/** The names by which GitHub and npm reach a heading. */
function anchorsOf(page: string): string[] {
  const headings = [...read(page).matchAll(/^#+ (.+)$/gm)].map(([, heading = '']) => heading)
  return headings.map((heading) =>
    heading
      .toLowerCase()
      .replaceAll(/[^\p{L}\p{N} _-]/gu, '')
      .replaceAll(' ', '-'),
  )
}

it('docs/README.md links to every page, each decision and each area of the bench aside: add yours to it', () => {
  const linked = new Set(linksOf('docs/README.md').map((link) => link.split('#')[0]))
  const listed = pages.filter((page) => !/^(decisions|performance)\/|^README\.md$/.test(page))
  expect(listed.filter((page) => !linked.has(page))).toEqual([])
})

it('every link between pages leads to a file and a heading that are there', () => {
  const all = ['README.md', 'CONTRIBUTING.md', ...pages.map((page) => `docs/${page}`)]
  const broken = all.flatMap((page) =>
    linksOf(page)
      .filter((link) => {
        const [file = '', anchor] = link.split('#')
        const target = file === '' ? page : join(dirname(page), file)
        if (!existsSync(join(root, target))) return true
        return anchor !== undefined && target.endsWith('.md') && !anchorsOf(target).includes(anchor)
      })
      .map((link) => `${page}: ${link}`),
  )
  expect(broken).toEqual([])
})
