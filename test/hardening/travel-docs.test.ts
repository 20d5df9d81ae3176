import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'

const docs = join(import.meta.dirname, '../../docs')

/** The rows of the tables of a page: which file, and what to look for in it. */
const steps = [
  ...readFileSync(join(docs, 'how-a-message-travels.md'), 'utf8').matchAll(
    /^\| *\d+ *\| *\[`([^`]+)`\]\(([^)]+)\) *\| *`([^`]+)` *\|/gm,
  ),
].map(([, name = '', link = '', wanted = '']) => ({ name, link, wanted }))

it('the page that leads through the source has its three trips', () => {
  expect(steps.length).toBeGreaterThan(25)
})

it.each(steps)('$name has $wanted', ({ name, link, wanted }) => {
  expect(link).toBe(`../src/${name}`)
  expect(existsSync(join(docs, link))).toBe(true)
  const source = readFileSync(join(docs, link), 'utf8')
  expect(source).toMatch(new RegExp(`${wanted}\\b ?[(<]`))
})
