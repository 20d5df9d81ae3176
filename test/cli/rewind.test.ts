import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { holdfast } from './support.ts'

const from = (file: string): string => JSON.stringify(pathToFileURL(join(import.meta.dirname, '../../src', file)).href)

/** A service of the memory broker that has handled ten orders: the command moves its group. */
const config = `
import { outgoing } from ${from('core/publisher.ts')}
import { pipeline } from ${from('core/pipeline.ts')}
import { idempotency } from ${from('idempotency/idempotency.ts')}
import { memoryBroker, memoryConsumer, memoryIdempotencyStore, memoryReplay } from ${from('transports/memory/index.ts')}
const broker = memoryBroker({ partitions: 1 })
const billing = pipeline('billing').use(idempotency({ store: memoryIdempotencyStore() })).handle(() => {})
const naked = pipeline('naked').handle(() => {})
const group = { broker, groupId: 'billing', topics: ['orders'] }
const other = { ...group, groupId: 'naked' }
await broker.publisher().publish(Array.from({ length: 10 }, (_, n) => outgoing({ id: 'm' + n, destination: 'orders', body: null })))
for (const each of [{ ...group, pipeline: billing }, { ...other, pipeline: naked }]) {
  const stop = new AbortController()
  const running = memoryConsumer(each).run(stop.signal)
  while (broker.lag(each.groupId, 'orders') > 0) await new Promise((resolve) => setTimeout(resolve, 5))
  stop.abort()
  await running
}
export default {
  replays: {
    billing: (request) => memoryReplay({ ...group, pipeline: billing, ...request }),
    naked: (request) => memoryReplay({ ...other, pipeline: naked, ...request }),
  },
}
`

describe('holdfast rewind', () => {
  let cwd = ''
  beforeAll(() => {
    cwd = mkdtempSync(join(tmpdir(), 'rewind-'))
    writeFileSync(join(cwd, 'holdfast.config.mjs'), config)
  })
  afterAll(() => rmSync(cwd, { recursive: true }))
  const run = (line: string) => holdfast(line, { cwd })

  it('counts in a dry run, asks for a yes, moves, and prints the plan', async () => {
    const dry = await run('rewind billing --from orders/0=4 --scope same --dry-run')
    expect(dry.out).toMatch(/orders\/0 +4 +10 +10 +6/)
    expect(dry.out).toContain('6 messages come again, 6 of them in the replay\n')
    expect(dry.exit).toBe(0)
    const asked = await run('rewind billing --from 1h --scope after-outage')
    expect([asked.exit, asked.err]).toEqual([
      4,
      'holdfast: rewind would act on 10 messages: give --yes where nobody can be asked\n',
    ])
    const moved = await run('rewind billing --from 1h --scope after-outage --yes --json')
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
    ['rewind nobody --from 2h --scope same', 2, /rewind takes one of billing, naked/],
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
