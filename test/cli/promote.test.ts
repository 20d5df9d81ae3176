import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { holdfast } from './support.ts'

/** Looks that come one after the other, as an operator goes on; the last one stays. */
const config = `
const at = (first, second) => [{ name: 'orders/0', first, second }]
const looks = [
  { step: 'stop-second', members: ['b at host'], partitions: at(10, 15) },
  { step: 'let-first-pass', members: ['a at host'], partitions: at(10, 15) },
  { step: 'let-first-pass', members: ['a at host'], partitions: at(12, 15) },
  { step: 'stop-first', members: ['a at host'], partitions: at(16, 15) },
  { step: 'start-second', until: { 'orders/0': 16n }, partitions: at(16, 15) },
]
const about = { first: 'orders', second: 'orders.v2' }
let n = 0
export default {
  promotions: {
    orders: async () => ({ ...about, ...looks[Math.min(n++, looks.length - 1)] }),
    ready: async () => ({ ...about, ...looks[4] }),
    running: async () => ({ ...about, ...looks[0] }),
  },
}
`

describe('holdfast replay promote', () => {
  let cwd = ''
  beforeAll(() => {
    cwd = mkdtempSync(join(tmpdir(), 'promote-'))
    writeFileSync(join(cwd, 'holdfast.config.mjs'), config)
  })
  afterAll(() => rmSync(cwd, { recursive: true }))
  const run = (line: string) => holdfast(line, { cwd })

  it('says the next step and gives no positions before the last one', async () => {
    const { exit, out, err } = await run('replay promote running')
    expect(exit).toBe(4)
    expect(err).toContain("stop 'orders.v2': it finishes what runs, and commits. It runs as b at host")
    expect(out).toMatch(/orders\/0 +10 +15/)
    expect(out).not.toContain('until')
  })

  it('with --wait tells each step once, and prints until at the end', async () => {
    const { exit, out, err } = await run('replay promote orders --wait --drained')
    expect(err.trim().split('\n')).toEqual([
      "stop 'orders.v2': it finishes what runs, and commits. It runs as b at host",
      "'orders' is behind 'orders.v2' in orders/0: let it run",
      "stop 'orders' in good order. It runs as a at host",
    ])
    expect(out).toContain(`start 'orders.v2' with replay({ until: {"orders/0":"16"} }), and leave 'orders' stopped`)
    expect(exit).toBe(0)
  })

  it('asks whether a member was killed before it gives positions', async () => {
    const asked = await run('replay promote ready')
    expect([asked.exit, asked.out]).toEqual([4, ''])
    expect(asked.err).toContain('give --drained')
    const told = await run('replay promote ready --drained --json')
    expect(JSON.parse(told.out)).toEqual({ step: 'start-second', until: { 'orders/0': '16' } })
  })

  it('names the groups that the config file has', async () => {
    expect(await run('replay promote others')).toMatchObject({
      exit: 2,
      err: expect.stringContaining('takes one of orders, ready, running') as unknown,
    })
    expect(await holdfast('replay promote orders', { cwd: tmpdir() })).toMatchObject({
      exit: 2,
      err: expect.stringContaining('needs `promotions` in the config file') as unknown,
    })
  })
})
