import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { closingLines } from './closing-line.ts'

type State = 'passed' | 'failed' | 'skipped' | 'pending'

const file = (tests: Readonly<Record<string, State>>, errors: readonly unknown[] = []) => ({
  errors: () => errors,
  children: {
    allTests: () => Object.entries(tests).map(([fullName, state]) => ({ fullName, result: () => ({ state }) })),
  },
})

it('prints at the end how many tests were skipped for which reason, most first', () => {
  const files = [
    file({ 'adds one': 'passed', breaks: 'failed', 'brokers (skipped: only test:full runs it) > waits': 'skipped' }),
    file({
      'on 15 (skipped: there is no redis) > a': 'skipped',
      'on 18 (skipped: there is no redis) > b (with a bracket)': 'pending',
      bare: 'skipped',
    }),
  ]
  expect(closingLines(files, 0, false)).toEqual([
    '',
    'Skipped:',
    '  2  there is no redis',
    '  1  only test:full runs it',
    '  1  it gives no reason',
    '',
    '1 passed, 1 failed, 4 skipped',
  ])
})

it('prints no list where nothing was skipped, and counts files that failed to load', () => {
  expect(closingLines([file({ one: 'passed' }, ['no such module'])], 1, false)).toEqual([
    '',
    '1 passed, 2 failed, 0 skipped',
  ])
})

it('tells tests that were filtered out by name from those that give no reason', () => {
  expect(closingLines([file({ one: 'skipped' })], 0, true)).toContain('  1  its name was not asked for')
})

it('every suite that can be skipped gives its reason', () => {
  const folder = join(import.meta.dirname, '..')
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
    (name) => name.endsWith('test.ts') && !name.includes('node_modules'),
  )
  const bare = files.filter((name) =>
    /\b(describe|it|test)\.(skip|skipIf|runIf|todo)\(/.test(readFileSync(join(folder, name), 'utf8')),
  )
  expect(bare).toEqual([])
  expect(files.length).toBeGreaterThan(100)
})
