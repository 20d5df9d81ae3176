import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { rewindConfig } from './rewind-config.ts'
import { holdfast } from './support.ts'

describe('holdfast rewind', () => {
  let cwd = ''
  beforeAll(() => {
    cwd = mkdtempSync(join(tmpdir(), 'rewind-'))
    writeFileSync(join(cwd, 'holdfast.config.mjs'), rewindConfig)
  })
  afterAll(() => rmSync(cwd, { recursive: true }))
  const run = (line: string) => holdfast(line, { cwd })

  it('counts in a dry run, asks for a yes, moves, and prints the plan', async () => {
    const dry = await run('rewind billing --from orders/0=4 --scope same --dry-run')
    expect(dry.out).toMatch(/orders\/0 +4 +10 +10 +6/)
    expect(dry.out).toContain('6 messages come again, 6 of them in the replay\n')
    expect(dry.out).toContain('6 of them are young enough for their keys to be remembered\n')
    expect(dry.exit).toBe(0)
    const asked = await run('rewind billing --from 1h --scope after-outage')
    expect([asked.exit, asked.err]).toEqual([
      4,
      'holdfast: rewind would act on 10 messages: give --yes where nobody can be asked\n',
    ])
    const moved = await run('rewind billing --from 1h --scope after-outage --yes --json')
    expect(moved.err).toBe('holdfast: no database is configured, so the operator log does not show this\n')
    const lines = moved.out.trim().split('\n')
    expect(JSON.parse(lines.at(-1) ?? '')).toMatchObject({
      moved: true,
      plan: { group: 'billing', scope: 'after-outage', partitions: { 'orders/0': { to: 10, stood: 10 } } },
    })
  })

  it.each([
    ['rewind billing --scope same', 2, /needs --from/],
    ['rewind billing --from 2h', 2, /needs --scope/],
    ['rewind billing --from orders/0=x --scope same', 2, /takes positions like orders\/0=120/],
    ['rewind nobody --from 2h --scope same', 2, /rewind takes one of billing, naked, broken/],
    ['rewind naked --from 2h --scope same', 4, /has no idempotency\(\)/],
  ])('%s exits with %i', async (line, exit, said) => {
    const ran = await run(line)
    expect(ran.exit).toBe(exit)
    expect(ran.err).toMatch(said)
  })

  it('says what the config file needs', async () => {
    expect((await holdfast('rewind billing --from 2h --scope same')).err).toMatch(/needs `replays` in the config file/)
  })
})
