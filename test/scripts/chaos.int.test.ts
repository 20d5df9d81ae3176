import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { violationsOf, type Report } from '../../scripts/chaos/scenario.ts'
import { scenarios } from '../../scripts/chaos/scenarios.ts'
import { spawnChild } from '../support/child.ts'
import { describeWith } from '../support/services.ts'

describeWith(['postgres'], 'npm run chaos', () => {
  const chaos = (...args: string[]) => spawnChild('scripts/chaos/run.ts', { args: ['--seed', '7', ...args] })

  it('keeps the promise of its cheapest scenario, and says what was injected', { timeout: 180_000 }, async () => {
    const child = chaos('--scenario', 'lease-expiry')
    expect(await child.exited, child.lines.join('\n')).toEqual({ code: 0, signal: null })
    expect(child.lines.find((line) => line.includes('injected: leases outlived'))).toMatch(/ [1-9]\d*$/)
    expect(child.lines.at(-1)).toMatch(/^kept: /)
  })

  it('exits with 1 where our code is broken on purpose', { timeout: 180_000 }, async () => {
    const child = chaos('--scenario', 'lease-expiry', '--broken', 'token-check')
    expect(await child.exited, child.lines.join('\n')).toEqual({ code: 1, signal: null })
    expect(child.lines.at(-1)).toMatch(/^BROKEN: .*duplicate effects/)
  })

  it.each([['--scenario', 'nobody'], ['--scenario', 'lease-expiry', '--broken', 'nobody'], []])(
    'exits with 2 for %s %s %s %s',
    async (...args) => {
      expect(await chaos(...args).exited).toEqual({ code: 2, signal: null })
    },
  )
})

describe('the verdict on a report', () => {
  const good: Report = { injected: { cut: 3 }, messages: 10, lost: 0, doubled: 0, outOfOrder: null, recoveryMs: null }

  it('is kept for a clean report', () => expect(violationsOf(good)).toEqual([]))

  it.each<[string, Partial<Report>]>([
    ['a fault that was not injected', { injected: { cut: 3, delay: 0 } }],
    ['no fault at all', { injected: {} }],
    ['no messages', { messages: 0 }],
    ['a lost message', { lost: 1 }],
    ['a duplicate effect', { doubled: 1 }],
    ['more duplicates than allowed', { doubled: 3, allowed: { doubled: 2 } }],
    ['a message out of order', { outOfOrder: 1 }],
    ['a figure that was not found', { lost: NaN }],
    ['a figure that was not found, where it is only counted', { doubled: NaN, allowed: { doubled: 'counted' } }],
    ['whatever else the scenario says', { violations: ['the accounts are off'] }],
  ])('is broken for %s', (_, change) => {
    expect(violationsOf({ ...good, ...change })).toHaveLength(1)
  })

  it('allows what is only counted', () => {
    expect(violationsOf({ ...good, doubled: 7, allowed: { doubled: 'counted' } })).toEqual([])
  })
})

describe('docs/proof.md', () => {
  const page = readFileSync(join(import.meta.dirname, '../../docs/proof.md'), 'utf8')

  it('has a row for each scenario, and for nothing else', () => {
    const rows = [...page.matchAll(/^\| `([^`]+)` +\|/gm)].map(([, name]) => name)
    expect(rows).toEqual(scenarios.map(({ name }) => name))
  })
})
