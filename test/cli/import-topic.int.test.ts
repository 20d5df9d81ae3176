import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { afterEach, expect, it } from 'vitest'
import { service } from '../stores/postgres/dead-letter-support.ts'
import { describeWith, postgresUrl } from '../support/services.ts'
import { holdfast } from './support.ts'

const from = (file: string): string => JSON.stringify(pathToFileURL(join(import.meta.dirname, '../../src', file)).href)

/** A broker with a topic of dead letters: two of today, one of long ago, and a message that is none. */
const config = `
import { outgoing } from ${from('core/publisher.ts')}
import { pipeline } from ${from('core/pipeline.ts')}
import { deadLetter } from ${from('dead-letter/dead-letter.ts')}
import { memoryBroker, memoryConsumer } from ${from('transports/memory/index.ts')}
const broker = memoryBroker({ partitions: 1 })
const to = broker.publisher()
const ago = (ms) => ({ now: () => 0, wall: () => Date.now() - ms, after: () => () => {} })
const dying = (ms) => pipeline('billing').use(deadLetter({ to, clock: ago(ms) })).handle(() => { throw new RangeError('a bug') })
const send = (ms, id) => dying(ms).dispatch({ message: { id, key: 'k', body: Buffer.from(id) }, origin: { destination: 'orders' } })
await send(60 * 86400000, 'old')
await send(0, 'm1')
await to.publish([outgoing({ id: 'stray', destination: 'orders.dead-letters', body: null })])
await send(3600000, 'm2')
export default {
  consume: ({ topic, pipeline, signal }) => {
    if (topic === 'gone') throw new Error('no such topic\\u001b[2J')
    return memoryConsumer({ broker, groupId: 'import', topics: [topic], pipeline }).run(signal)
  },
}
`

type Service = Awaited<ReturnType<typeof service>>
const open: (() => unknown)[] = []
async function given(): Promise<Service & { run(line: string): ReturnType<typeof holdfast> }> {
  const made = await service()
  const cwd = mkdtempSync(join(tmpdir(), 'import-'))
  open.push(
    () => made.dispose(),
    () => rmSync(cwd, { recursive: true }),
  )
  writeFileSync(join(cwd, 'holdfast.config.mjs'), config)
  const env = { HOLDFAST_POSTGRES_URL: postgresUrl(), HOLDFAST_SCHEMA: made.schema, HOLDFAST_OPERATOR: 'ana' }
  return { ...made, run: (line) => holdfast(line, { env, cwd }) }
}
afterEach(async () => {
  for (const end of open.splice(0)) await end()
})

const line = 'dlq import --topic orders.dead-letters --quiet-ms 300'

describeWith(['postgres'], 'holdfast dlq import --topic', () => {
  it('takes the letters of a topic, says what it left out, and acks what it took', async () => {
    const { run, letters } = await given()
    const first = await run(line)
    expect(first).toMatchObject({
      exit: 0,
      out: '2 letters read, 1 messages are no dead letters, 1 letters died too long ago\n',
      err: '',
    })
    const { letters: found } = await letters.list({}, { order: 'oldest' })
    expect(found.map(({ messageId, errorName, destination }) => [messageId, errorName, destination])).toEqual([
      ['m1', 'RangeError', 'orders'],
      ['m2', 'RangeError', 'orders'],
    ])
    expect(await letters.log()).toMatchObject([
      { by: 'ana', act: 'import', detail: { topic: 'orders.dead-letters', letters: 2 } },
    ])
    const again = await run(`${line} --json`)
    expect(JSON.parse(again.out)).toMatchObject({ letters: 0, skipped: { 'no-dead-letter': 0 } })
    expect(again.err).toContain('nothing came from orders.dead-letters: is that its name')
  })

  it('takes only what died since a time', async () => {
    const { run } = await given()
    expect((await run(`${line} --since 10m`)).out).toContain('1 letters read')
  })

  it('ends where the table refuses, with its cause, and acks nothing of it', async () => {
    const { run, pool, schema } = await given()
    await pool.query(`alter table ${schema}.dead_letter rename to hidden`)
    const refused = await run(line)
    expect([refused.exit, refused.out]).toEqual([5, ''])
    expect(refused.err).toContain(`the tables in schema ${schema} are missing`)
    await pool.query(`alter table ${schema}.hidden rename to dead_letter`)
    expect((await run(line)).out).toContain('2 letters read')
  })

  it.each([
    ['dlq import --topic gone', 3, 'gone cannot be read: no such topic\\x1b[2J'],
    ['dlq import --follow', 2, '--follow needs --topic'],
    ['dlq import --topic orders.dead-letters --since soon', 2, '--since must be like 90s'],
    ['dlq import --topic orders.dead-letters --since 2999-01-01', 2, '--since must not lie in the future'],
    ['dlq import --topic orders.dead-letters --quiet-ms 0', 2, '--quiet-ms must be an integer'],
    ['dlq import --topic= --quiet-ms 5', 2, '--topic must not be empty'],
    ['dlq import --topic x --config missing.mjs', 2, 'there is no missing.mjs'],
  ])('answers %s with one line and exit code %i', async (bad, exit, said) => {
    const { run } = await given()
    const ran = await run(bad)
    expect(ran).toMatchObject({ exit, out: '', err: `holdfast: ${said}${ran.err.slice(10 + said.length)}` })
    expect(ran.err.split('\n')).toHaveLength(2)
  })

  it('says what the config file needs', async () => {
    const { schema } = await given()
    const { exit, err } = await holdfast('dlq import --topic x', {
      env: { HOLDFAST_POSTGRES_URL: postgresUrl(), HOLDFAST_SCHEMA: schema },
    })
    expect([exit, err]).toEqual([2, expect.stringContaining('dlq import --topic needs `consume` in the config file')])
  })
})
