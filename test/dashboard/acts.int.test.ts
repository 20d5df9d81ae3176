import { afterEach, expect, it } from 'vitest'
import { headersFrom } from '../../src/core/message.ts'
import { outgoing } from '../../src/core/publisher.ts'
import type { OperatorPageOptions } from '../../src/dashboard/index.ts'
import { postgresOperatorStore, postgresOutbox } from '../../src/stores/postgres/index.ts'
import { service } from '../stores/postgres/dead-letter-support.ts'
import { storedKey } from '../../src/core/stored-key.ts'
import { describeWith } from '../support/services.ts'
import { entered, formsOf } from './support.ts'

type Service = Awaited<ReturnType<typeof service>>
const open: Service[] = []
async function given(options: Partial<OperatorPageOptions> = {}) {
  const made = await service()
  open.push(made)
  const operator = postgresOperatorStore(made.pool, { schema: made.schema, letters: made.letters })
  const acts = async () => (await made.letters.log()).map(({ by, act }) => `${by} ${act}`)
  const { get, post, submit } = entered(operator, options)
  return { ...made, operator, acts, get, post, submit }
}
afterEach(async () => {
  for (const each of open.splice(0)) await each.dispose()
})

const states = async ({ rows }: Pick<Service, 'rows'>) => (await rows('state')).map(({ state }) => state)

describeWith(['postgres'], 'the page on a real database', () => {
  it('redrives a group by a canary: it shows first what it would do, asks for the number, pauses, and goes on', async () => {
    const made = await given()
    const { get, submit, post, state, work, acts } = made
    state.handle = ({ message }) => {
      throw new Error(`Order ${message.id} not found`)
    }
    for (let n = 0; n < 4; n++) await made.send(`order-${1000 + n}`, { key: `k${n}` })
    const overview = (await get('/')).text
    expect(overview).toContain('Order &lt;id&gt; not found')
    expect(overview).not.toContain('order-1000')
    const link = /href="([^"]+redrives\/new[^"]+)"/.exec(overview)?.[1]?.replaceAll('&amp;', '&') ?? ''
    const form = (await get(link)).text
    expect(form).toContain('Redrive 4 letters')
    for (const [change, said] of [
      [{ number: '3' }, 'Type 4, the number of letters.'],
      [{ number: '4', rate: 'fast' }, 'Letters a second: a number'],
      [{ number: '4', canary: '0' }, 'Canary: a whole number'],
      [{ number: '4', most: '-1' }, 'Most redrives of one letter'],
      [{ number: '4', route: 'elsewhere' }, 'Choose a route.'],
      [{ number: '5', free: '5' }, 'It was 5 letters when you looked, and is 4 now.'],
    ] as const)
      expect((await submit(form, /redrives$/, change)).text.replace(/\s+/g, ' ')).toContain(said)
    expect(await made.letters.redrives()).toEqual([])
    const redrive = await submit(form, /redrives$/, { number: '4', canary: '1', rate: '1000' })
    expect(redrive.text).toContain('The redrive is made')
    state.handle = () => {}
    await work()
    const paused = (await get('/redrives/1')).text
    expect(paused).toContain('The canary is over.')
    expect((await submit(paused, /resume$/)).text).toContain('Resumed.')
    await work()
    expect((await get('/redrives/1')).text).toContain('4 ended, 0 open')
    expect(state.ran).toHaveLength(4)
    expect(await acts()).toEqual(['ana resume', 'ana redrive'])
    // What is over is not begun again.
    const again = await submit(paused, /cancel$/)
    expect(again.text).toContain('Nothing was done')
    expect((await post('/redrives', 'which=x')).status).toBe(403)
  })

  it('pauses and cancels a redrive', async () => {
    const { get, submit, ...made } = await given()
    await made.billing.dispatch({
      message: { id: 'm1', body: null },
      origin: { system: 'kafka', destination: 'o', partition: null, position: null, group: null },
    })
    await made.letters.create({}, {}, 'bob')
    const paused = await submit((await get('/redrives/1')).text, /pause$/)
    expect(paused.text).toContain('Paused.')
    expect((await submit(paused.text, /cancel$/)).text).toContain('Cancelled.')
    expect((await get('/redrives')).text).toContain('1 cancelled')
    expect(await made.acts()).toEqual(['ana cancel', 'ana pause', 'bob redrive'])
  })

  it('drops one letter and restores it, drops those that match, and never more than were seen', async () => {
    const made = await given()
    const { get, submit, acts, rows } = made
    const sendLetter = (id: string, key: string) =>
      made.billing.dispatch({
        message: { id, key, body: Buffer.from('{}') },
        origin: { system: 'kafka', destination: 'o', partition: null, position: null, group: null },
      })
    for (const id of ['m1', 'm2', 'm3']) await sendLetter(id, 'k')
    const one = await submit((await get('/letters/1')).text, /drop$/)
    expect(one.text).toContain('1 letter dropped.')
    expect((await submit(one.text, /restore$/)).text).toContain('Restored')
    const form = (await get('/letters/drop?key=k')).text
    expect((await submit(form, /drop$/, { number: '2' })).text).toContain('Type 3')
    await sendLetter('m4', 'k')
    expect((await submit(form, /drop$/, { number: '3' })).text).toContain('it is 4 now')
    expect(await states({ rows })).toEqual(['dead', 'dead', 'dead', 'dead'])
    const all = await submit((await get('/letters/drop?key=k')).text, /drop$/, { number: '4' })
    expect(all.text).toContain('4 letters dropped.')
    expect(await states({ rows })).toEqual(['dropped', 'dropped', 'dropped', 'dropped'])
    expect(await acts()).toEqual([...Array.from({ length: 4 }, () => 'ana drop'), 'ana restore', 'ana drop'])
  })

  it('opens a letter again of which nothing was heard', async () => {
    const made = await given()
    await made.send('m1')
    const [redrive] = [await made.letters.create({}, {}, 'bob')]
    const lanes = await made.letters.claimLanes(redrive?.id ?? '', 1, { owner: 'w', leaseMs: 1000, pipelines: null })
    await made.letters.begin(redrive?.id ?? '', lanes, 1)
    const { text } = await made.get('/letters/1')
    expect(text).toContain('redriving')
    expect((await made.submit(text, /reopen$/)).text).toContain('Reopened')
    expect(await states(made)).toEqual(['dead'])
  })

  it('masks a body, reveals it by a form, and downloads it byte for byte: each is in the log', async () => {
    const made = await given()
    const { get, submit, acts } = made
    await made.send('m1', { body: '{"card":"4111"}' })
    const masked = (await get('/letters/1')).text
    expect(masked).not.toContain('4111')
    expect(masked).toContain('&lt;string&gt;')
    expect(await acts()).toEqual([])
    expect((await submit(masked, /reveal$/)).text).toContain('4111')
    const body = await submit(masked, /body$/)
    expect(body.text).toBe('{"card":"4111"}')
    expect(body.headers.get('content-disposition')).toBe('attachment; filename="letter-1.bin"')
    expect(body.headers.get('content-security-policy')).toContain('sandbox')
    expect(body.headers.get('content-type')).toBe('application/octet-stream')
    expect(await acts()).toEqual(['ana reveal', 'ana reveal'])
  })

  it.each([
    ['JSON', '{"a":1,\n "b":"<b>&amp;"}\n'],
    ['text that begins with line ends', '\n\n x'],
    ['line ends of Windows', 'a\r\nb\r\n'],
    ['tabs, quotes and bidi', '\ta"\'`\u202e</textarea><script>'],
  ])('gives back %s unchanged where only a header is edited', async (_, body) => {
    const made = await given()
    const { get, submit, letters, acts } = made
    await made.send('m1', {
      body,
      headers: headersFrom([
        ['tenant', 't1'],
        ['old', 'x'],
        ['line', 'a\nb'],
      ]),
    })
    const open_ = (await get('/letters/1/edit')).text
    const revealed = (await submit(open_, /reveal$/)).text
    // The whole text as a browser sends it, chosen as the new body: it is the same.
    expect((await submit(revealed, /edit$/, { body: 'text' })).text).toContain('Nothing is different')
    const made_ = await submit(revealed, /edit$/, {
      'header-0': 't2',
      'remove-1': '1',
      'new-name-0': 'more',
      'new-value-0': '1',
    })
    expect(made_.text).toContain('This is the new letter.')
    const next = await letters.letter('2')
    expect(Buffer.from(next?.body ?? []).toString()).toBe(body)
    expect(next?.headers).toMatchObject({ tenant: 't2', line: 'a\nb', more: '1', 'causation-id': 'm1' })
    expect(next?.headers).not.toHaveProperty('old')
    expect(next?.messageId).not.toBe('m1')
    expect(await states(made)).toEqual(['replaced', 'dead'])
    expect(await acts()).toEqual(['ana edit', 'ana reveal'])
    // An edit that comes second changes nothing.
    expect((await submit(revealed, /edit$/, { 'header-0': 't3' })).text).toContain('Nothing was done')
  })

  it('edits a body as text, by a file of any bytes, and to a tombstone', async () => {
    const made = await given()
    const { get, post, submit, letters } = made
    for (const id of ['m1', 'm2', 'm3', 'm4']) await made.send(id, { body: 'a\r\nb' })
    const form = async (id: number) => (await get(`/letters/${id}/edit`)).text
    await submit(await form(1), /edit$/, { body: 'text', text: 'c\r\nd' })
    expect(Buffer.from((await letters.letter('5'))?.body ?? []).toString()).toBe('c\r\nd')
    await submit(await form(2), /edit$/, { body: 'none' })
    expect((await letters.letter('6'))?.body).toBeNull()
    const boundary = '----WebKitFormBoundaryabcdefghijklmnop'
    const bytes = Buffer.from([0, 255, 13, 10, 0])
    const token = formsOf(await form(3))[0]?.fields.find(([name]) => name === 'form-token')?.[1] ?? ''
    const fields = { 'form-token': token, settled: '0', body: 'file' }
    const parts = Object.entries(fields).map(
      ([name, value]) => `--${boundary}\r\nContent-Disposition: form-data; name="${name}"\r\n\r\n${value}\r\n`,
    )
    const file = Buffer.concat([
      Buffer.from(
        `${parts.join('')}--${boundary}\r\nContent-Disposition: form-data; name="file"; filename="x.bin"\r\nContent-Type: application/octet-stream\r\n\r\n`,
      ),
      bytes,
      Buffer.from(`\r\n--${boundary}--\r\n`),
    ])
    expect(
      (await post('/letters/3/edit', file, { 'content-type': `multipart/form-data; boundary=${boundary}` })).text,
    ).toContain('This is the new letter.')
    expect(Buffer.from((await letters.letter('7'))?.body ?? [])).toEqual(bytes)
    expect((await submit(await form(4), /edit$/, { body: 'file' })).text).toContain('Choose a file.')
    expect((await submit(await form(4), /edit$/)).text).toContain('Nothing is different')
    // It cannot be edited as text: a browser would change it.
    expect((await get('/letters/7/edit')).text).toContain('cannot be edited as text here')
  })

  it('gives a stuck key back, leaves one alone that is held unless forced, and forgets a key of any text', async () => {
    const made = await given()
    const { get, submit, store, pool, schema, acts } = made
    const key = `a\nb"<i>'\u202e&amp;`
    await store.claim({ scope: 's', key, owner: 'gone', leaseMs: 60_000, fingerprint: null })
    const held = (await get('/keys?stale=0')).text
    expect(held).toContain('a\nb&quot;&lt;i&gt;&#39;\\u202e&amp;amp;')
    expect(held).toContain('This key is held')
    await pool.query(`update ${schema}.idempotency set lease_until = now() - interval '1 h'`)
    const stuck = (await get('/keys')).text
    await pool.query(`update ${schema}.idempotency set lease_until = now() + interval '1 h'`)
    expect((await submit(stuck, /unblock$/)).text).toContain('the key is held again')
    expect((await submit(held, /unblock$/)).text).toContain('can be claimed again')
    expect((await submit(held, /unblock$/)).text).toContain('not in progress any more')
    const known = (await get(`/keys?key=${encodeURIComponent(key)}`)).text
    expect((await submit(known, /forget$/)).text).toContain('The key is forgotten.')
    expect((await submit(known, /forget$/)).text).toContain('Nothing was done')
    expect(await acts()).toEqual(['ana idempotency forget', 'ana keys unblock'])
  })

  it('finds a key that is stored as its digest', async () => {
    const { get, store } = await given()
    const long = 'k'.repeat(5000)
    await store.claim({ scope: 's', key: storedKey(long), owner: 'o', leaseMs: 60_000, fingerprint: null })
    expect((await get(`/keys?key=${long}`)).text).toContain('in-progress')
  })

  it('puts messages back that the broker refused, and skips them', async () => {
    const made = await given()
    const { get, submit, pool, schema, acts } = made
    const outbox = postgresOutbox({ schema })
    const client = await pool.connect()
    await client.query('begin')
    for (const id of ['o1', 'o2'])
      await outbox.add(client, outgoing({ destination: 'orders', id, body: null, key: '<b>' }))
    await client.query('commit')
    client.release()
    const lease = await made.operator.outbox()
    expect(lease?.pending).toBe(2)
    await pool.query(
      `insert into ${schema}.outbox_dead (id, topic, key, message_id, type, headers, payload, created_at, error)
select id, topic, key, message_id, type, headers, payload, created_at, 'too large <script>' from ${schema}.outbox`,
    )
    const page = (await get('/outbox')).text
    expect(page).toContain('too large &lt;script&gt;')
    const positions = [...page.matchAll(/name="position"\s+value="(\d+)"/g)].map(([, position]) => position ?? '')
    expect(positions).toHaveLength(2)
    expect((await submit(page, /replay$/)).text).toContain('nothing was chosen')
    expect((await submit(page, /replay$/, { position: positions[0] ?? '' })).text).toContain(
      '1 message is in the outbox again.',
    )
    const skip = page.replace('action="/outbox/replay"', 'action="/outbox/skip"')
    expect((await submit(skip, /skip$/, { position: positions[1] ?? '' })).text).toContain('1 message forgotten.')
    expect((await get('/outbox')).text).toContain('Nothing was refused')
    expect(await acts()).toEqual(['ana outbox skip', 'ana outbox replay'])
  })

  it('pages through what the broker refused in the order of its positions', async () => {
    const { get, operator, pool, schema } = await given()
    await pool.query(
      `insert into ${schema}.outbox_dead (id, topic, type, message_id, created_at, error)
select n, 't', 'x', 'm' || n, now(), 'E' from generate_series(8, 12) n`,
    )
    const first = await operator.outboxDead({ limit: 3 })
    const second = await operator.outboxDead({ limit: 3, after: first.at(-1)?.position ?? '' })
    expect([...first, ...second].map(({ position }) => position)).toEqual(['8', '9', '10', '11', '12'])
    expect((await get('/outbox?after=10')).text).not.toContain('>m9<')
  })

  it('acts on letters whose headers and filters hold what no database does', async () => {
    const { get, submit, send, letters, acts } = await given()
    await send('m1', {
      headers: headersFrom([
        ['a\0', 'x'],
        ['\ud800', 'y'],
        ['kept', 'z'],
      ]),
    })
    const form = (await get('/letters/1/edit')).text
    const made = await submit(form, /edit$/, { 'remove-0': '1', 'remove-1': '1' })
    expect(made.text).toContain('This is the new letter.')
    const names = Object.keys((await letters.letter('2'))?.headers ?? {})
    expect(names.filter((name) => !name.startsWith('holdfast-'))).toEqual(['kept', 'causation-id'])
    for (const text of ['\\u0000', '\0', '\\ud800', '"\\\\'])
      expect((await get(`/redrives/new?text=${encodeURIComponent(text)}`)).text).toContain('Nothing to redrive')
    for (const text of ['\\u0000', '\0', '\ud800', '\\ud800'])
      await expect(letters.create({ text }, {}, text)).resolves.toBeUndefined()
    await letters.note({ by: 'b', act: 'a', detail: { '\0\ud800': ['\\u0000\0\ud800'] } })
    expect((await letters.log())[0]?.detail).toEqual({ '\\0\ufffd': ['\\u0000\\0\ufffd'] })
    expect(await acts()).toHaveLength(2)
  })

  it('tells the story of a message, also of one whose id is longer than an address', async () => {
    const made = await given()
    const { get } = made
    const long = 'x'.repeat(100_000)
    await made.send('m1', { key: 'k' })
    await made.send(long, { key: long })
    expect((await get('/message?id=m1')).text).toMatch(/letter 1: given up/)
    expect((await get('/message?letter=2')).text).toMatch(/letter 2: given up/)
    const letter = (await get('/letters/2')).text
    expect(letter).toContain('100,000 characters')
    expect(letter.length).toBeLessThan(60_000)
    expect((await get('/letters')).text.length).toBeLessThan(30_000)
  })

  it('pages through letters, and filters them by each name', async () => {
    const made = await given()
    const { get } = made
    for (let n = 0; n < 52; n++) await made.send(`m${n}`, { key: `k${n % 2}` })
    const first = (await get('/letters')).text
    expect(first).toContain('52 letters match')
    const older = /rel="next"\s+href="([^"]+)"/.exec(first)?.[1]?.replaceAll('&amp;', '&') ?? ''
    const second = (await get(older)).text
    expect(second).toContain('Letter 1"')
    expect(second).toContain('This is the end of the list.')
    const [group] = await made.letters.groups({}, 1)
    for (const [query, n] of [
      ['key=k0', 26],
      ['id=m7', 1],
      ['pipeline=billing', 52],
      [`group=${group?.group ?? ''}`, 52],
      ['text=a+BUG', 52],
      ['reason=permanent', 52],
      ['ids=1&ids=2,3', 3],
      ['since=1h', 52],
      ['until=1h', 0],
    ] as const)
      expect((await get(`/letters?${query}`)).text, query).toContain(
        n === 1 ? '1 letter matches' : `${n} letters match`,
      )
    expect((await get('/letters?state=dropped')).text).toContain('No letter matches')
    expect((await get(`/letters?before=${encodeURIComponent("1.1');--")}`)).status).toBe(400)
  })

  it('shows the log, page by page, and gives it as log records of OpenTelemetry', async () => {
    const made = await given()
    const { get, letters } = made
    for (let n = 0; n < 105; n++) await letters.note({ by: 'b\u202e<i>', act: `act ${n}`, detail: { a: '<script>' } })
    const page = (await get('/log')).text
    expect(page).toContain('b\\u202e&lt;i&gt;')
    expect(page).toContain('&lt;script&gt;')
    expect((await get(/rel="next"\s+href="([^"]+)"/.exec(page)?.[1] ?? '')).text).toContain('act 0')
    const otlp = await get('/log/otlp')
    expect(otlp.headers.get('content-type')).toBe('application/json')
    const records = (JSON.parse(otlp.text) as { resourceLogs: { scopeLogs: { logRecords: unknown[] }[] }[] })
      .resourceLogs[0]?.scopeLogs[0]?.logRecords
    expect(records).toHaveLength(105)
    expect(records?.[0]).toMatchObject({ severityNumber: 9, eventName: 'holdfast.operator.act' })
  })
})
