import { afterEach, expect, it } from 'vitest'
import { PermanentError } from '../../src/core/errors.ts'
import { headersFrom } from '../../src/core/message.ts'
import { describeWith } from '../support/services.ts'
import { postgresUrl } from '../support/services.ts'
import { service } from '../stores/postgres/dead-letter-support.ts'
import { holdfast } from './support.ts'

type Service = Awaited<ReturnType<typeof service>>
const open: Service[] = []
async function given() {
  const made = await service()
  open.push(made)
  const run = (line: string | readonly string[], around: Parameters<typeof holdfast>[1] = {}) =>
    holdfast(line, {
      env: { HOLDFAST_POSTGRES_URL: postgresUrl(), HOLDFAST_SCHEMA: made.schema, HOLDFAST_OPERATOR: 'ana' },
      ...around,
    })
  const json = async (line: string) =>
    (await run(`${line} --json`)).out
      .split('\n')
      .filter((each) => each !== '')
      .map((each) => JSON.parse(each) as Record<string, unknown>)
  return { ...made, run, json }
}
afterEach(async () => {
  for (const each of open.splice(0)) await each.dispose()
})

describeWith(['postgres'], 'the command on a real database', () => {
  it('answers what a newcomer asks at night', async () => {
    const { run, json, send, state, work, store, pool, schema } = await given()
    state.handle = ({ message }) => {
      throw new PermanentError(message.id.startsWith('a') ? `Order ${message.id} not found` : 'no stock')
    }
    for (let n = 0; n < 6; n++) await send(`a-${1000 + n}`, { key: `k${n % 2}` })
    await send('b-1')
    // What is dead, and why?
    const status = await run('status')
    expect(status.exit).toBe(1)
    expect(status.out).toContain('dead letters: 7 in 2 groups')
    const [group] = await json('dlq groups')
    expect(group).toMatchObject({ letters: 6, shape: 'Order <id> not found' })
    // Replay one group at 1000/s after a fix.
    const selection = `--group ${String(group?.['group'])}`
    expect((await run(`dlq redrive ${selection} --dry-run`)).out).toBe('6 letters of 2 keys match\n')
    expect(await run(`dlq redrive ${selection}`)).toMatchObject({ exit: 4 })
    expect((await run(`dlq redrive ${selection} --rate 1000 --canary 2 --yes`)).out).toContain('redrive 1: 6 letters')
    state.handle = () => {}
    await work()
    expect((await run('redrive show 1')).out).toContain('the canary is over: holdfast redrive resume 1')
    expect((await run('redrive resume 1')).exit).toBe(0)
    await work()
    expect((await run('redrive show 1 --items')).out).toContain(
      'redrive 1 done [####################] 6 of 6: 6 resolved',
    )
    // Outbox lag.
    expect((await run('outbox status')).out).toContain('0 to publish')
    // Stuck keys, and forgetting one.
    await store.claim({ scope: 'billing', key: 'stuck', owner: 'gone', leaseMs: 60_000, fingerprint: null })
    await pool.query(`update ${schema}.idempotency set lease_until = now() - interval '1 h' where key = 'stuck'`)
    expect(await json('keys ls')).toMatchObject([{ key: 'stuck' }])
    await pool.query(`analyze ${schema}.idempotency`)
    expect((await run('keys ls --look-at 1')).err).toMatch(/among the newest 1 of about \d+ keys; --look-at looks/)
    expect((await run('keys unblock stuck --scope billing')).exit).toBe(0)
    expect((await run('keys unblock stuck --scope billing')).exit).toBe(4)
    expect((await run('idempotency forget stuck --scope billing')).exit).toBe(4)
    expect((await run('idempotency forget stuck --scope billing -y')).exit).toBe(0)
    expect((await run('idempotency show stuck')).out).toBe('none\n')
    // What happened to message X?
    const told = await run('explain a-1000')
    expect(told.out).toContain('redrive 1 took letter')
    expect(told.out).toContain('completed')
    expect((await run('explain a-1000 --mermaid')).out).toMatch(/^sequenceDiagram\n/)
    expect((await run('dlq log')).out).toContain('idempotency forget')
  })

  it('never acts without being told on what, and asks a person for the number', async () => {
    const { run, send, rows } = await given()
    for (const id of ['m1', 'm2']) await send(id)
    for (const line of ['dlq drop', 'dlq redrive', 'dlq export']) {
      const { exit, err } = await run(`${line} --yes`.replace('export --yes', 'export'))
      expect(err).toContain('say which letters: numbers, filters, or --all')
      expect(exit).toBe(2)
    }
    const asked: string[] = []
    const person = (answer: string) => ({
      interactive: true,
      ask: (question: string) => (asked.push(question), Promise.resolve(answer)),
    })
    expect(await run('dlq drop --all', person('yes'))).toMatchObject({ exit: 4, err: 'holdfast: nothing was done\n' })
    expect(asked).toEqual(['dlq drop: 2 letters. Type the number to go on: '])
    expect(await run('dlq drop --all', person('2'))).toMatchObject({ exit: 0, out: '2 of 2 letters dropped\n' })
    expect(await rows('state')).toEqual([{ state: 'dropped' }, { state: 'dropped' }])
    expect((await run('dlq restore 1 2 3')).exit).toBe(6)
  })

  it('shows a letter masked, edits it, and moves letters to another schema by lines of JSON', async () => {
    const { run, send, json } = await given()
    const other = await given()
    await send('m\u001b[2J1', {
      body: '{"card":"4111"}',
      key: 'k\u202e',
      headers: headersFrom([
        ['tenant\u0007', 'v\0'],
        ['raw', Buffer.from([255])],
      ]),
    })
    const shown = await run('dlq show 1 --body')
    expect(shown.out).not.toContain('4111')
    expect(shown.out + (await run('dlq ls')).out).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/)
    expect((await run('dlq show 1 --reveal')).out).toContain('4111')
    const { out } = await run('dlq export --all')
    expect(await other.run('dlq import', { input: out })).toMatchObject({ exit: 0, out: '1 letters read\n' })
    expect(await other.run('dlq import', { input: out })).toMatchObject({ exit: 0 })
    const [mine, theirs] = [await json('dlq show 1'), await other.json('dlq show 1')]
    for (const each of [...mine, ...theirs])
      for (const name of ['id', 'firstMs', 'deadMs', 'changedMs', 'claimState']) Reflect.deleteProperty(each, name)
    expect(theirs).toEqual(mine)
    expect((await other.run('dlq import', { input: '{"nonsense":1}' })).exit).toBe(2)
    expect((await run('dlq edit 1 --set-header tenant=t2')).out).toContain('letter 2 replaces letter 1')
    expect((await run('dlq edit 1 --set-header tenant=t2')).exit).toBe(4)
  })

  it.each([
    ['dlq ls --limit 0', 2, '--limit must be an integer from 1 to 10000'],
    ['dlq ls --since soon', 2, '--since must be like 90s, 15m, 2h, 3d, or a date'],
    ['dlq ls x', 2, "a letter is a number, got 'x'"],
    ['dlq ls --where state=dead', 2, '--where takes name=value'],
    ['dlq ls --reason tired', 2, '--reason'],
    ['dlq ls --before nonsense', 2, 'before must be'],
    ['dlq redrive --all --rate 0 -y', 2, '--rate must be a number'],
    ['dlq show 99999', 4, 'there is no letter 99999'],
    ['redrive pause 99999', 4, 'there is no redrive 99999'],
    ['dlq ls --schema nowhere', 5, 'the tables in schema nowhere are missing'],
    ['outbox replay x -y', 2, 'a position is a number'],
    ['keys ls --timeout-ms none', 2, '--timeout-ms must be an integer'],
  ])('answers %s with one line and exit code %i', async (line, code, said) => {
    const { run } = await given()
    const { exit, err, out } = await run(line)
    expect(err).toContain(said)
    expect(err.split('\n')).toHaveLength(2)
    expect(out).toBe('')
    expect(exit).toBe(code)
  })

  it('changes nothing in a schema that is newer or older, says so, and still shows it', async () => {
    const { run, send, pool, schema, rows } = await given()
    await send('m1')
    const acts = [
      ...['dlq redrive --all', 'dlq drop --all', 'dlq edit 1 --set-header a=b', 'dlq restore 1', 'dlq reopen 1'],
      ...['dlq import', 'erase --subject s', 'redrive pause 1', 'redrive resume 1', 'redrive cancel 1'],
      ...['outbox replay 1', 'outbox skip 1', 'keys unblock k --scope s', 'keys drop k --scope s'],
      'idempotency forget k --scope s',
    ]
    const each = async (said: string): Promise<void> => {
      for (const line of acts) {
        const { exit, err } = await run(`${line}${/redrive --all|drop|erase|outbox|forget/.test(line) ? ' --yes' : ''}`)
        expect([exit, err], line).toEqual([5, expect.stringContaining(said)])
      }
      expect((await run('dlq ls')).out).toContain('m1')
    }
    await pool.query(`insert into ${schema}.migration (version, name) values (9999, 'later')`)
    await each(`nothing was done: the schema ${schema} is newer than this version (later)`)
    await pool.query(`delete from ${schema}.migration where name in ('later', 'redrive')`)
    await each(`nothing was done: the schema ${schema} lacks redrive: holdfast migrate apply`)
    expect(await rows('state')).toEqual([{ state: 'dead' }])
    expect((await run('dlq log')).out).toBe('none\n')
    // Tables of a feature that nobody asked for are not missed.
    await pool.query(`insert into ${schema}.migration (version, name) values (3, 'redrive');
delete from ${schema}.migration where name = 'circuits'`)
    expect((await run('dlq drop --all --yes')).exit).toBe(0)
  })

  it('migrates a schema, and does nothing the second time', async () => {
    const { run, pool } = await given()
    const fresh = `${open[0]?.schema ?? ''}_fresh`
    expect((await run(`migrate apply --schema ${fresh}`)).exit).toBe(4)
    expect((await run(`migrate apply --schema ${fresh} --yes`)).out).toContain('applied: idempotency, outbox')
    expect((await run(`migrate apply --schema ${fresh}`)).out).toBe('nothing to apply\n')
    await pool.query(`drop schema ${fresh} cascade`)
  })
})
