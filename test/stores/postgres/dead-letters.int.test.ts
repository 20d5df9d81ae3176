import { randomBytes } from 'node:crypto'
import { afterEach, expect, it } from 'vitest'
import { headersFrom } from '../../../src/core/message.ts'
import { PermanentError } from '../../../src/core/errors.ts'
import type { Outgoing } from '../../../src/core/publisher.ts'
import { both, importDeadLetters, readDeadLetter } from '../../../src/dead-letter/index.ts'
import { deadLetter } from '../../../src/dead-letter/dead-letter.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { postgresDeadLetters } from '../../../src/stores/postgres/index.ts'
import { describeOnBothServers, service } from './dead-letter-support.ts'

type Service = Awaited<ReturnType<typeof service>>
const open: Service[] = []
async function given(...options: Parameters<typeof service>): Promise<Service> {
  const made = await service(...options)
  open.push(made)
  return made
}
afterEach(async () => {
  for (const each of open.splice(0)) await each.dispose()
})

describeOnBothServers('postgresDeadLetters()', () => {
  it('keeps a dead letter whole, once, however often it comes', async () => {
    const { send, letters } = await given()
    const headers = headersFrom([
      ['tenant', 't1'],
      ['traceparent', '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'],
      ['raw', Buffer.from([0xff, 0])],
      ['twice', ['a', 'b']],
    ])
    for (let times = 0; times < 3; times++) expect(await send('m1', { key: 'k', headers })).toBe('dead-lettered')
    const page = await letters.list({})
    expect(page).toMatchObject({ next: null, letters: [{ messageId: 'm1', key: 'k', state: 'dead', deaths: 1 }] })
    const letter = await letters.letter(page.letters[0]?.id ?? '')
    expect(letter).toMatchObject({
      pipeline: 'billing',
      reason: 'permanent',
      errorName: 'PermanentError',
      errorMessage: 'a bug',
      traceId: '0af7651916cd43dd8448eb211c80319c',
      origin: { system: 'kafka', destination: 'orders', partition: '0', position: '1', group: 'g' },
      claimScope: 'billing',
      claimKey: 'm1',
      claimState: 'failed',
      attempts: 1,
    })
    expect(letter?.body?.toString()).toBe('{}')
    expect({ ...letter?.headers }).toMatchObject({ tenant: 't1', raw: Buffer.from([0xff, 0]), twice: ['a', 'b'] })
    expect(letter?.history).toMatchObject([{ errorMessage: 'a bug' }])
  })

  it('D-14 keeps two contents under one id as two letters', async () => {
    const { send, letters } = await given()
    await send('m1', { body: '{"n":1}' })
    await send('m1', { body: '{"n":2}' })
    expect((await letters.list({})).letters).toHaveLength(2)
  })

  it('D-13 keeps what no column can hold: NUL, half a surrogate pair, keys of 100 KB, times out of range', async () => {
    const { letters, state, rows } = await given()
    // Random: an index row that compresses well would fit.
    const long = () => randomBytes(75_000).toString('base64')
    const hostile = { id: `a\0b\ud800${long()}`, key: `k\0${long()}`, type: '\udc00' }
    const orders = pipeline('billing')
      .use(deadLetter({ to: letters }))
      .handle(() => {
        throw new Error(`\0\ud800${'e'.repeat(5000)}`)
      })
    const headers = headersFrom([
      ['n\0', 'v\0'],
      ['__proto__', 'p'],
      ['big', 'b'.repeat(200_000)],
    ])
    for (const timeMs of [8.64e15 + 1, -1e300, Number.NaN, Infinity]) {
      const message = { ...hostile, headers, timeMs, body: Buffer.from('\0') }
      expect(await orders.dispatch({ message, origin: { destination: 'orders', position: '9'.repeat(40) } })).toBe(
        'dead-lettered',
      )
    }
    const [row] = await rows('id::text as id, count(*) over () as n')
    expect(row).toMatchObject({ n: '1' })
    const letter = await letters.letter(String(row?.['id']))
    expect(letter).toMatchObject({ messageId: hostile.id, key: hostile.key, type: hostile.type })
    expect(letter?.headers['n\0']).toBe('v\0')
    expect((await letters.list({ key: hostile.key, messageId: hostile.id })).letters).toHaveLength(1)
    state.broken = false
  })

  it('D-15 never takes a decision back because of a late delivery, and counts no death twice', async () => {
    const { send, letters, rows } = await given()
    await send('m1')
    const [id = ''] = (await letters.list({})).letters.map((letter) => letter.id)
    expect(await letters.drop({ ids: [id] }, 'ana')).toEqual([id])
    await send('m1')
    await send('m1', { generation: 9 })
    expect(await rows('state, deaths')).toEqual([{ state: 'dropped', deaths: 1 }])
    expect(await letters.restore([id], 'ana')).toEqual([id])
    await send('m1', { generation: 10 })
    expect(await rows('state, deaths, settled')).toEqual([{ state: 'dead', deaths: 2, settled: '10' }])
    await send('m1', { generation: 10 })
    expect(await rows('deaths')).toEqual([{ deaths: 2 }])
  })

  it('a death of an older redrive does not end a newer one', async () => {
    const { send, letters, rows, pool, schema } = await given()
    await send('m1')
    await pool.query(`update ${schema}.dead_letter set state = 'redriving', generation = 20`)
    await send('m1', { generation: 15 })
    expect(await rows('state')).toEqual([{ state: 'redriving' }])
    await send('m1', { generation: 20 })
    expect(await rows('state')).toEqual([{ state: 'dead' }])
    expect(letters).toBeDefined()
  })

  it('finds letters by every filter, page by page, and takes no text for SQL', async () => {
    const { send, letters, made } = await given()
    for (let n = 0; n < 7; n++) await send(`m${n}`, { key: `k${n % 2}` })
    await send('s1', { to: made('shipping') })
    const seen: string[] = []
    for (let before: string | null | undefined; before !== null;) {
      const page = await letters.list({ pipeline: 'billing' }, { limit: 3, ...(before !== undefined && { before }) })
      seen.push(...page.letters.map(({ messageId }) => messageId))
      before = page.next
    }
    expect(seen).toEqual(['m6', 'm5', 'm4', 'm3', 'm2', 'm1', 'm0'])
    const count = (filter: Parameters<typeof letters.count>[0]) => letters.count(filter)
    expect(await count({ key: 'k1' })).toBe(3)
    expect(await count({ messageId: 'm3' })).toBe(1)
    expect(await count({ text: 'A BU' })).toBe(8)
    expect(await count({ text: '%' })).toBe(0)
    expect(await count({ text: "'; drop table dead_letter; --" })).toBe(0)
    expect(await count({ sinceMs: Date.now() - 60_000, untilMs: Date.now() + 60_000 })).toBe(8)
    expect(await count({ sinceMs: 8e15 })).toBe(0)
    expect(await count({ reason: 'permanent', pipeline: 'shipping' })).toBe(1)
    const oldest = await letters.list({}, { order: 'oldest', limit: 1 })
    expect(oldest.letters[0]?.messageId).toBe('m0')
    await expect(letters.list({}, { before: '1 or 1=1' })).rejects.toMatchObject({ code: 'bad-option' })
    for (const states of [[], [`dead') or true --`]])
      await expect(letters.list({}, { states: states as never })).rejects.toMatchObject({ code: 'bad-option' })
    await expect(letters.list({ ids: ['1); drop table x'] })).rejects.toMatchObject({ code: 'bad-option' })
    // A misspelt filter must not match everything.
    await expect(letters.drop({ pipelin: 'x' } as object, 'ana')).rejects.toMatchObject({ code: 'bad-option' })
  })

  it('groups by the shape of the error, with an override, and keeps the groups when the rules change', async () => {
    const { send, letters, state, pool, schema } = await given()
    state.handle = ({ message }) => {
      throw new PermanentError(message.id.startsWith('a') ? `Order ${message.id} not found` : 'no stock')
    }
    for (const id of ['a-1001', 'a-1002', 'a-1003', 'b-1']) await send(id)
    const groups = await letters.groups({})
    expect(groups).toMatchObject([
      { letters: 3, pipeline: 'billing', shape: 'Order <id> not found', errorMessage: 'Order a-1003 not found' },
      { letters: 1, shape: 'no stock' },
    ])
    expect((await letters.list({ group: groups[0]?.group ?? '' })).letters).toHaveLength(3)
    await pool.query(`update ${schema}.dead_letter set fingerprint = '0-old' || id`)
    expect(await letters.regroup()).toBe(4)
    expect(await letters.groups({})).toEqual(groups)
    const own = postgresDeadLetters(pool, { schema, fingerprint: ({ message }) => `tenant ${message.id.charAt(0)}` })
    await own.publish([await lastLetter('c9')])
    expect((await letters.groups({ group: 'tenant c' }))[0]?.letters).toBe(1)
  })

  it('edits into a new letter with another id, and ends the old one, once', async () => {
    const { send, letters, rows } = await given()
    await send('m1', {
      key: 'k',
      headers: headersFrom([
        ['tenant', 't1'],
        ['secret', 's'],
      ]),
    })
    const [id = ''] = (await letters.list({})).letters.map((letter) => letter.id)
    const edits = await Promise.all(
      Array.from({ length: 5 }, () =>
        letters.edit(id, 0, { body: Buffer.from('{"fixed":1}'), headers: { secret: null, fixed: 'yes' } }, 'ana'),
      ),
    )
    const made = edits.filter((each) => each !== undefined)
    expect(made).toHaveLength(1)
    expect(await letters.letter(id)).toMatchObject({ state: 'replaced' })
    const letter = await letters.letter(made[0] ?? '')
    expect(letter).toMatchObject({ state: 'dead', key: 'k', replaces: id, claimKey: null })
    expect(letter?.messageId).not.toBe('m1')
    expect({ ...letter?.headers }).toMatchObject({ tenant: 't1', fixed: 'yes', 'causation-id': 'm1' })
    expect(letter?.headers).not.toHaveProperty('secret')
    expect(letter?.body?.toString()).toBe('{"fixed":1}')
    expect(await rows('state')).toHaveLength(2)
    await expect(letters.edit(made[0] ?? '', 0, { messageId: letter?.messageId ?? '' }, 'ana')).rejects.toMatchObject({
      code: 'bad-option',
    })
  })

  it('edits a header of any name, and keeps those that stay', async () => {
    const { send, letters } = await given()
    const odd = headersFrom([
      ['__proto__', 'kept'],
      ['constructor', 'gone'],
    ])
    await send('m1', { key: 'k', headers: odd })
    await send('m2', { key: 'k' })
    const [first = '', second = ''] = (await letters.list({})).letters.map((letter) => letter.id)
    const change = (pairs: [string, string | null][]) => ({ headers: Object.fromEntries(pairs) })
    const edits = [
      await letters.edit(second, 0, change([['constructor', null]]), 'ana'),
      await letters.edit(first, 0, change([['__proto__', 'set']]), 'ana'),
    ]
    const made = await Promise.all(edits.map((id) => letters.letter(id ?? '')))
    const headers = made.map((letter) => Object.entries(letter?.headers ?? {}))
    expect(headers[0]).toContainEqual(['__proto__', 'kept'])
    expect(headers[0]?.map(([name]) => name)).not.toContain('constructor')
    expect(headers[1]).toContainEqual(['__proto__', 'set'])
  })

  it('D-17 erases a subject for good: a redelivery writes nothing of it back', async () => {
    const subject = ({ message }: { message: { body: Uint8Array | null } }) =>
      /"who":"(\w+)"/.exec(Buffer.from(message.body ?? []).toString())?.[1] ?? null
    const { send, letters, pool, schema } = await given({ subject })
    await send('m1', { body: '{"who":"ana"}', key: 'ana@example.com' })
    await send('m2', { body: '{"who":"bob"}' })
    expect(await letters.erase({ subject: 'ana' }, 'officer')).toBe(1)
    await send('m1', { body: '{"who":"ana"}', key: 'ana@example.com' })
    const { rows } = await pool.query<{ all: string }>(`select d::text as all from ${schema}.dead_letter d order by id`)
    expect(rows).toHaveLength(2)
    expect(rows[0]?.all).not.toMatch(/ana|who|m1/)
    expect(rows[1]?.all).toContain('bob')
    const [id = ''] = (await letters.list({}, { states: ['dropped'] })).letters.map((letter) => letter.id)
    expect(await letters.restore([id], 'ana')).toEqual([])
    expect(JSON.stringify(await letters.log())).not.toContain('"ana"')
  })

  it('encrypts bodies at rest, keeps which key it was, and changes keys', async () => {
    const [one, two] = [randomBytes(32), randomBytes(32)]
    const { send, letters, pool, schema, rows } = await given({ encryption: { use: 'one', keys: { one } } })
    await send('m1', { body: 'a secret' })
    const [id = ''] = (await letters.list({})).letters.map((letter) => letter.id)
    expect(String((await rows('body'))[0]?.['body'])).not.toContain('secret')
    expect((await letters.letter(id))?.body?.toString()).toBe('a secret')
    const newer = postgresDeadLetters(pool, { schema, encryption: { use: 'two', keys: { one, two } } })
    expect(await newer.rotate()).toBe(1)
    expect(await newer.rotate()).toBe(0)
    expect((await newer.letter(id))?.body?.toString()).toBe('a secret')
    await expect(letters.letter(id)).rejects.toMatchObject({ code: 'bad-option' })
    await pool.query(`update ${schema}.dead_letter set body = set_byte(body, 20, get_byte(body, 20) # 1)`)
    await expect(newer.letter(id)).rejects.toThrow()
    expect(() => postgresDeadLetters(pool, { encryption: { use: 'x', keys: { x: randomBytes(16) } } })).toThrow(
      /encryption\.keys\['x'\] must be 32 bytes/,
    )
  })

  it('cleans up what was final for long enough, and dead letters only where it is told to', async () => {
    const { send, letters, pool, schema, rows } = await given({ retainMs: 1000 })
    for (const id of ['m1', 'm2', 'm3']) await send(id)
    const ids = (await letters.list({})).letters.map((letter) => letter.id)
    await letters.drop({ ids: [ids[0] ?? ''] }, 'ana')
    await pool.query(
      `update ${schema}.dead_letter set changed_at = now() - interval '1 h', dead_at = now() - interval '1 h'`,
    )
    expect(await letters.clean()).toBe(1)
    expect(await rows('state')).toEqual([{ state: 'dead' }, { state: 'dead' }])
    // A letter that a redrive has is not taken away from it.
    await letters.create({ ids: [ids[1] ?? ''] }, {}, 'ana')
    const short = postgresDeadLetters(pool, { schema, retainMs: 1000, retainDeadMs: 1000 })
    expect(await short.clean()).toBe(1)
    expect((await rows('id::text as id')).map((row) => row['id'])).toEqual([ids[1]])
  })

  it('takes a fan-out to a topic and a table, and an import from the topic folds into the same letters', async () => {
    const { letters, pool, schema, rows } = await given()
    const topic: Outgoing[] = []
    const target = both({ publish: (messages) => Promise.resolve(void topic.push(...messages)) }, letters)
    const orders = pipeline('billing')
      .use(deadLetter({ to: target }))
      .handle(() => {
        throw new Error('a bug')
      })
    for (const id of ['m1', 'm2'])
      await orders.dispatch({ message: { id, body: null }, origin: { destination: 'orders' } })
    expect(topic).toHaveLength(2)
    const importing = importDeadLetters({ to: letters })
    for (let times = 0; times < 2; times++)
      for (const message of topic) expect(await importing.dispatch({ message })).toBe('handled')
    expect(await rows('deaths')).toEqual([{ deaths: 1 }, { deaths: 1 }])
    // D-16: the table has forgotten them, and they are older than it remembers.
    await pool.query(`delete from ${schema}.dead_letter`)
    const late = importDeadLetters({
      to: letters,
      clock: { now: () => 0, wall: () => Date.now() + 31 * 86_400_000, after: () => () => {} },
    })
    for (const message of topic) await late.dispatch({ message })
    await late.dispatch({ message: { id: 'no letter', body: null } })
    expect(await rows()).toEqual([])
  })

  it('refuses one message that is no dead letter with a PermanentError, and says what to run where the tables are missing', async () => {
    const { letters, pool } = await given()
    const message = {
      destination: 'x',
      id: 'm1',
      type: 't',
      key: null,
      headers: headersFrom([]),
      body: null,
      timeMs: 0,
    }
    await expect(letters.publish([message])).rejects.toThrow(PermanentError)
    const nowhere = postgresDeadLetters(pool, { schema: 'nowhere' })
    await expect(nowhere.list({})).rejects.toMatchObject({
      code: 'bad-schema',
      message: expect.stringContaining('migrate') as string,
    })
  })

  it('D-18 ends a question that takes too long', async () => {
    const { letters, pool, schema } = await given({ questionMs: 200 })
    const client = await pool.connect()
    await client.query(`begin; lock table ${schema}.dead_letter in access exclusive mode`)
    await expect(letters.list({})).rejects.toMatchObject({ code: '57014' })
    await client.query('rollback')
    client.release()
    expect((await letters.list({})).letters).toEqual([])
    // The limit does not stay with the connection.
    expect((await pool.query('show statement_timeout')).rows).toEqual([{ statement_timeout: '0' }])
  })
})

async function lastLetter(id: string): Promise<Outgoing> {
  const letters: Outgoing[] = []
  await pipeline('billing')
    .use(deadLetter({ to: { publish: (messages) => Promise.resolve(void letters.push(...messages)) } }))
    .handle(() => {
      throw new Error('a bug')
    })
    .dispatch({ message: { id, body: null } })
  const [letter] = letters
  if (letter === undefined || readDeadLetter(letter) === undefined) throw new Error('no letter')
  return letter
}
