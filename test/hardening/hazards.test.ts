import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'

const root = join(import.meta.dirname, '../..')
const page = readFileSync(join(root, 'docs/hazards.md'), 'utf8')

/** The letters before the number: those that the page has a section for. */
const families = [...page.matchAll(/^## ([A-Z]+): /gm)].map(([, letters = '']) => letters)
const code = new RegExp(`\\b(?:[IOKBDFPRNAXS]|PK|PR|${families.join('|')})-\\d+\\b`, 'g')

function codesUnder(...folders: readonly string[]): Set<string> {
  const files = folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' }).map((name) => join(folder, name)),
  )
  const read = files.filter((name) => /\.(ts|md)$/.test(name) && !skipped.test(name))
  return new Set(read.flatMap((name) => readFileSync(join(root, name), 'utf8').match(code) ?? []))
}

// The page itself, packages, and the order numbers in what an example prints.
const skipped = /node_modules|^docs\/hazards\.md$|^test\/(examples|hardening\/hazards\.test\.ts)/

const rows = [...page.matchAll(/^- \*\*([A-Z]+-\d+)\*\* \S.* → \S/gm)].map(([, name = '']) => name)
const inTests = codesUnder('test', 'src/testing', 'scripts')
const inPages = codesUnder('docs', 'src')

it('docs/hazards.md has a line for every code: add "- **X-1** What goes wrong. → What holdfast does." for these', () => {
  expect([...inTests, ...inPages].filter((name) => !rows.includes(name))).toEqual([])
})

it('every line of docs/hazards.md is shown in a test, a contract or a script: use the code there, or remove the line', () => {
  expect(rows.filter((name) => !inTests.has(name))).toEqual([])
})

it('docs/hazards.md has each code once, under its letters, in order', () => {
  const sections = page.split(/^## /m).slice(1)
  const listed = sections.map((section) => [...section.matchAll(/^- \*\*([A-Z]+)-(\d+)\*\*/gm)])
  listed.forEach((found, index) => {
    expect(new Set(found.map(([, letters]) => letters))).toEqual(new Set([families[index]]))
    const numbers = found.map(([, , number]) => Number(number))
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b))
  })
  expect(rows).toHaveLength(listed.flat().length)
  expect(rows.length).toBeGreaterThan(90)
})
