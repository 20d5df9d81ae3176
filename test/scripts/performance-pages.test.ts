import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { explained } from '../../bench/reasons.ts'
import { summary } from '../../bench/summary.ts'

const folder = join(import.meta.dirname, '../../docs/performance')

function rowsOf(text: string): readonly string[] {
  return text
    .split('\n')
    .filter((line) => line.startsWith('|') && !/^\| *:?-/.test(line))
    .map((line) =>
      line
        .split('|')
        .slice(1, -1)
        .map((cell) => cell.trim())
        .join(' | '),
    )
}

it('the page of performance begins with the figures of the other pages: npm run bench -- --write makes it', async () => {
  const page = readFileSync(join(folder, 'README.md'), 'utf8')
  const table = page.slice(page.indexOf('<!-- Written'), page.indexOf('<!-- The end'))
  const made = rowsOf(await summary(folder))
  expect(rowsOf(table)).toEqual(made)
  expect(made.filter((row) => / – \| [^|]* \| –$/.test(row))).toEqual([])
})

it('gives reasons only for rows that the pages have', () => {
  const rows = new Set(
    readdirSync(folder)
      .filter((name) => name.endsWith('.md'))
      .flatMap((name) =>
        rowsOf(readFileSync(join(folder, name), 'utf8')).map((row) => {
          const [what, beside] = row.split(' | ')
          return `${name.slice(0, -3)}: ${what} / ${beside}`
        }),
      ),
  )
  expect(explained.filter((row) => !rows.has(row))).toEqual([])
})
