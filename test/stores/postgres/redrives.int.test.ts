import { afterEach, expect, it } from 'vitest'
import { PermanentError, PublishError, RetryLater } from '../../../src/core/errors.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import type { Outgoing } from '../../../src/core/publisher.ts'
import { deadLetter } from '../../../src/dead-letter/dead-letter.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { describeOnBothServers, service } from './dead-letter-support.ts'

type Service = Awaited<ReturnType<typeof service>>
const open: Service[] = []
async function given(): Promise<Service> {
  const made = await service()
  open.push(made)
  return made
}
afterEach(async () => {
  for (const each of open.splice(0)) await each.dispose()
})

const none = 'nobody made a redrive'

describeOnBothServers('a redrive', () => {
  it('runs each letter again, once, in the pipeline that failed, and marks it resolved', async () => {
    const { send, letters, state, work, rows } = await given()
    for (let n = 0; n < 20; n++) await send(`m${n}`, { key: `k${n % 3}` })
    state.broken = false
    expect(await letters.preview({})).toMatchObject({
      matched: 20,
      free: 20,
      taken: 0,
      guarded: 0,
      completed: 0,
      keys: 3,
      looked: 20,
    })
    const redrive = (await letters.create({}, {}, 'ana')) ?? expect.fail(none)
    expect(redrive).toMatchObject({ total: 20, open: 20, state: 'running', route: 'pipeline', by: 'ana' })
    await work()
    expect(state.ran).toHaveLength(20)
    for (const key of [0, 1, 2]) {
      const ofKey = state.ran.map((id) => Number(id.slice(1))).filter((n) => n % 3 === key)
      expect(ofKey).toEqual(ofKey.toSorted((a, b) => a - b))
    }
    expect(await letters.redrive(redrive.id)).toMatchObject({ state: 'done', open: 0, results: { resolved: 20 } })
    expect(new Set((await rows('state')).map((row) => row['state']))).toEqual(new Set(['resolved']))
    expect((await letters.log()).map(({ by, act }) => `${by} ${act}`)).toEqual(['ana redrive'])
    // Redeliveries of the originals are duplicates now.
    expect(await send('m0', { key: 'k0' })).toBe('duplicate')
  })

  it('says of each letter how it ended, and stops a key where one of it dies again', async () => {
    const { send, letters, state, work, rows } = await given()
    for (const [id, key] of [
      ['a1', 'a'],
      ['a2', 'a'],
      ['a3', 'a'],
      ['b1', 'b'],
      ['n1', null],
      ['n2', null],
    ] as const)
      await send(id, { key })
    state.handle = ({ message }) => {
      if (['a2', 'n1'].includes(message.id)) throw new PermanentError('still a bug')
    }
    const redrive = (await letters.create({}, {}, 'ana')) ?? expect.fail(none)
    await work()
    expect(state.ran.toSorted()).toEqual(['a1', 'b1', 'n2'])
    expect((await letters.redrive(redrive.id))?.results).toEqual({ resolved: 3, dead: 2, skipped: 1 })
    expect(await rows('message_id, state, deaths')).toEqual([
      { message_id: 'a1', state: 'resolved', deaths: 1 },
      { message_id: 'a2', state: 'dead', deaths: 2 },
      { message_id: 'a3', state: 'dead', deaths: 1 },
      { message_id: 'b1', state: 'resolved', deaths: 1 },
      { message_id: 'n1', state: 'dead', deaths: 2 },
      { message_id: 'n2', state: 'resolved', deaths: 1 },
    ])
    // Nothing of it is still taken.
    expect(await letters.preview({})).toMatchObject({ matched: 3, taken: 0 })
  })

  it('D-9 takes what matches when it is made, and a letter is in one redrive at a time', async () => {
    const { send, letters } = await given()
    for (let n = 0; n < 200; n++) await send(`m${n}`)
    const made = await Promise.all([1, 2, 3, 4].map((n) => letters.create({}, {}, `operator ${n}`)))
    const totals = made.map((each) => each?.total ?? 0)
    expect(totals.reduce((sum, each) => sum + each, 0)).toBe(200)
    for (const each of made) if (each !== undefined) expect(each.open).toBe(each.total)
    await send('late')
    expect(await letters.preview({})).toMatchObject({ matched: 201, taken: 200, free: 1 })
    expect(await letters.create({ messageId: 'm1' }, {}, 'ana')).toBeUndefined()
  })

  it('sends the canary, exactly so many, and pauses until it is resumed', async () => {
    const { send, letters, state, work } = await given()
    for (let n = 0; n < 10; n++) await send(`m${n}`, { key: 'one key' })
    state.broken = false
    const redrive = (await letters.create({}, { canary: 3 }, 'ana')) ?? expect.fail(none)
    await work()
    expect(state.ran).toEqual(['m0', 'm1', 'm2'])
    expect(await letters.redrive(redrive.id)).toMatchObject({ state: 'paused', open: 7, results: { resolved: 3 } })
    expect(await letters.resume(redrive.id, 'ana')).toBe('running')
    await work()
    expect(state.ran).toHaveLength(10)
    expect(await letters.redrive(redrive.id)).toMatchObject({ state: 'done', results: { resolved: 10 } })
  })

  it('pauses, goes on where it was, and is cancelled without touching what it has not begun', async () => {
    const { send, letters, state, work, rows } = await given()
    for (let n = 0; n < 6; n++) await send(`m${n}`, { key: 'k' })
    const redrive = (await letters.create({}, {}, 'ana')) ?? expect.fail(none)
    state.handle = async ({ message }) => {
      if (message.id === 'm2') await letters.pause(redrive.id, 'ana')
    }
    await work()
    expect(state.ran).toEqual(['m0', 'm1', 'm2'])
    expect((await rows('state', 'order by id offset 3'))[0]).toEqual({ state: 'dead' })
    state.handle = async ({ message }) => {
      if (message.id === 'm3') await letters.cancel(redrive.id, 'bob')
    }
    expect(await letters.resume(redrive.id, 'ana')).toBe('running')
    await work()
    expect(state.ran).toEqual(['m0', 'm1', 'm2', 'm3'])
    expect(await letters.redrive(redrive.id)).toMatchObject({
      state: 'cancelled',
      open: 0,
      results: { resolved: 4, cancelled: 2 },
    })
    expect((await letters.log()).map(({ act }) => act)).toEqual(['cancel', 'resume', 'pause', 'redrive'])
    expect(await letters.resume(redrive.id, 'ana')).toBe('cancelled')
    expect(await letters.pause('123456', 'ana')).toBeUndefined()
  })

  it('D-28 leaves a letter to a person that was redriven too often, by the count of its row', async () => {
    const { send, letters, work, rows } = await given()
    await send('m1')
    for (let round = 1; round <= 4; round++) {
      const redrive = (await letters.create({}, { maxRedrives: 2 }, 'ana')) ?? expect.fail(none)
      await work()
      expect((await letters.redrive(redrive.id))?.results).toEqual(round <= 2 ? { dead: 1 } : { guarded: 1 })
    }
    expect(await rows('redrives, deaths')).toEqual([{ redrives: 2, deaths: 3 }])
    expect(await letters.preview({}, { maxRedrives: 2 })).toMatchObject({ guarded: 1 })
  })

  it('counts all that match, and looks one by one at the first of them alone', async () => {
    const { send, letters, work, pool, schema, made } = await given()
    for (let n = 0; n < 6; n++) await send(`m${n}`, { key: n % 2 === 0 ? `k${n}` : null })
    for (let n = 0; n < 2; n++) await send(`s${n}`, { to: made('shipping') })
    await pool.query(`update ${schema}.idempotency set state = 'completed', failure = null where key in ('m0', 'm5')`)
    expect(await letters.preview({})).toMatchObject({ matched: 8, free: 8, looked: 8, completed: 2, keys: 8 })
    expect(await letters.preview({}, {}, { most: 3 })).toMatchObject({
      matched: 8,
      free: 8,
      looked: 3,
      completed: 1,
      keys: 3,
    })
    const [group] = await letters.groups({ pipeline: 'shipping' })
    for (const filter of [{ pipeline: 'shipping' }, { group: group?.group ?? '' }, { reason: 'permanent' } as const])
      expect((await letters.preview(filter, {}, { most: 1 })).looked).toBe(1)
    // What is taken, or is sent and has no result yet, is told apart of all of them.
    const { id } = (await letters.create({ pipeline: 'billing' }, {}, 'ana')) ?? expect.fail(none)
    expect(await letters.preview({}, {}, { most: 1 })).toMatchObject({ matched: 8, taken: 6, free: 2, looked: 1 })
    const lanes = await letters.claimLanes(id, 1, { owner: 'o', leaseMs: 20, pipelines: null })
    await letters.begin(id, lanes, 1)
    expect(await letters.preview({}, {}, { most: 1 })).toMatchObject({ matched: 7, taken: 5, free: 2 })
    await work()
    expect(await letters.preview({}, { maxRedrives: 1 }, { most: 2 })).toMatchObject({ looked: 2 })
    await expect(letters.preview({}, {}, { most: 0 })).rejects.toMatchObject({ code: 'bad-option' })
    await expect(letters.preview({}, {}, { mst: 1 } as object)).rejects.toMatchObject({ code: 'bad-option' })
  })

  it('finds out that a key was completed otherwise, and does not run it', async () => {
    const { send, letters, state, work, pool, schema, rows } = await given()
    await send('m1')
    await pool.query(`update ${schema}.idempotency set state = 'completed', failure = null`)
    expect(await letters.preview({})).toMatchObject({ completed: 1 })
    const redrive = (await letters.create({}, {}, 'ana')) ?? expect.fail(none)
    await work()
    expect(state.ran).toEqual([])
    expect((await letters.redrive(redrive.id))?.results).toEqual({ resolved: 1 })
    expect(await rows('state')).toEqual([{ state: 'resolved' }])
  })

  it('waits where the pipeline says later, and keeps the letter', async () => {
    const { send, letters, state, work } = await given()
    await send('m1')
    let times = 0
    state.handle = () => {
      if (++times < 4) throw new RetryLater(30, { holds: 'pipeline', because: 'the database is down' })
    }
    await letters.create({}, {}, 'ana')
    await work()
    expect(times).toBe(4)
    expect(state.ran).toEqual(['m1'])
  })

  it('leaves letters of other pipelines to the workers that have them', async () => {
    const { send, letters, state, made, billing } = await given()
    const shipping = made('shipping')
    await send('b1')
    await send('s1', { to: shipping })
    state.broken = false
    const redrive = (await letters.create({}, {}, 'ana')) ?? expect.fail(none)
    const lanes = (pipelines: string[]) => letters.claimLanes(redrive.id, 10, { owner: 'o', leaseMs: 1000, pipelines })
    expect(await lanes(['neither'])).toEqual([])
    expect(await lanes([shipping.name])).toHaveLength(1)
    expect(await lanes([billing.name])).toHaveLength(1)
  })

  it('sends an edited letter as what it is: another message', async () => {
    const { send, letters, state, work } = await given()
    await send('m1', { body: 'broken' })
    const [id = ''] = (await letters.list({})).letters.map((letter) => letter.id)
    const made = (await letters.edit(id, 0, { body: Buffer.from('fixed') }, 'ana')) ?? expect.fail('not edited')
    const bodies: string[] = []
    state.handle = ({ message }) => void bodies.push(Buffer.from(message.body ?? []).toString())
    expect((await letters.create({}, {}, 'ana'))?.total).toBe(1)
    await work()
    expect(bodies).toEqual(['fixed'])
    expect(await letters.letter(made)).toMatchObject({ state: 'resolved' })
    expect(await letters.letter(id)).toMatchObject({ state: 'replaced' })
  })

  it('D-10 drops, edits and sends the same letters at once, and each letter has one of the three', async () => {
    const { send, letters, state, work, rows } = await given()
    for (let n = 0; n < 60; n++) await send(`m${n}`)
    state.broken = false
    const ids = (await letters.list({}, { limit: 100 })).letters.map(({ id }) => id)
    await letters.create({}, {}, 'ana')
    const [dropped, ...edited] = await Promise.all([
      letters.drop({ ids: ids.slice(0, 40) }, 'bob'),
      ...ids.slice(20).map((id) => letters.edit(id, 0, {}, 'eve')),
      work({ concurrency: 4 }),
    ])
    const states = await rows('id::text as id, message_id, state, replaces')
    for (const { id, message_id, state: ended } of states) {
      const ran = state.ran.includes(String(message_id))
      if (ended === 'dropped' || ended === 'replaced') expect(ran, `${String(id)} ${String(ended)}`).toBe(false)
      if (ended === 'resolved') expect(ran).toBe(true)
    }
    expect(states.filter(({ state: ended }) => ended === 'dropped')).toHaveLength(dropped.length)
    expect(new Set(state.ran).size).toBe(state.ran.length)
    expect(edited.length).toBeGreaterThan(0)
  })

  it('D-12 gives every item a result in the statement that ends its lane', async () => {
    const { send, letters } = await given()
    for (let n = 0; n < 5; n++) await send(`m${n}`, { key: 'k' })
    const { id } = (await letters.create({}, {}, 'ana')) ?? expect.fail(none)
    const [lane = { lane: '', token: '' }] = await letters.claimLanes(id, 1, {
      owner: 'o',
      leaseMs: 1000,
      pipelines: null,
    })
    const [first] = await letters.begin(id, [lane], 1)
    const settled = [{ letter: first?.letter.id ?? '', result: 'dead' as const }]
    // Whoever holds another token changes nothing.
    expect(await letters.advance(id, { ...lane, token: '1' }, settled, { stop: true })).toBe('lost')
    expect((await letters.redrive(id))?.open).toBe(5)
    expect(await letters.advance(id, lane, settled, { stop: true })).toBe('over')
    expect(await letters.redrive(id)).toMatchObject({ open: 0, results: { dead: 1, skipped: 4 } })
    expect(await letters.finish(id)).toBe('done')
  })

  it('goes on after a worker died between giving a generation and sending, with the same generation', async () => {
    const { send, letters, state, work, rows } = await given()
    await send('m1', { key: 'k' })
    state.broken = false
    const { id } = (await letters.create({}, {}, 'ana')) ?? expect.fail(none)
    const [lane = { lane: '', token: '' }] = await letters.claimLanes(id, 1, {
      owner: 'dead',
      leaseMs: 50,
      pipelines: null,
    })
    const [begun] = await letters.begin(id, [lane], 1)
    await work()
    expect(state.ran).toEqual(['m1'])
    expect(await rows('state, generation, redrives')).toEqual([
      { state: 'resolved', generation: String(begun?.generation), redrives: 1 },
    ])
    // The zombie sends late: the key is completed.
    expect(await send('m1', { key: 'k', generation: begun?.generation ?? 0 })).toBe('duplicate')
    expect(await letters.advance(id, lane, [])).toBe('lost')
  })

  it('reopens a letter without a result, and its late death changes nothing', async () => {
    const { send, letters, rows } = await given()
    await send('m1')
    const { id } = (await letters.create({}, {}, 'ana')) ?? expect.fail(none)
    const [lane = { lane: '', token: '' }] = await letters.claimLanes(id, 1, {
      owner: 'o',
      leaseMs: 50,
      pipelines: null,
    })
    const [begun] = await letters.begin(id, [lane], 1)
    const generation = begun?.generation ?? 0
    expect(await letters.drop({}, 'ana')).toEqual([])
    expect(await letters.reopen([begun?.letter.id ?? ''], 'ana')).toHaveLength(1)
    await send('m1', { generation })
    expect(await rows('state, deaths')).toEqual([{ state: 'dead', deaths: 1 }])
    expect(await letters.reopen([begun?.letter.id ?? ''], 'ana')).toEqual([])
  })

  it('spends the permission of a letter that it reopens: a copy on its way does not run after the letter was dropped', async () => {
    const { send, letters, state, rows, pool, schema } = await given()
    await send('m1')
    const begin = async () => {
      const { id } = (await letters.create({}, {}, 'ana')) ?? expect.fail(none)
      const lanes = await letters.claimLanes(id, 1, { owner: 'o', leaseMs: 50, pipelines: null })
      const [begun] = await letters.begin(id, lanes, 1)
      return { letter: begun?.letter.id ?? '', generation: begun?.generation ?? 0 }
    }
    const { letter, generation } = await begin()
    // Its handler runs at this moment: what a person decides now would come too late.
    await pool.query(`update ${schema}.idempotency set state = 'in-progress'`)
    expect(await letters.reopen([letter], 'ana')).toEqual([])
    await pool.query(`update ${schema}.idempotency set state = 'failed'`)
    expect(await letters.reopen([letter], 'ana')).toEqual([letter])
    await letters.drop({}, 'ana')
    state.broken = false
    expect(await send('m1', { generation })).toBe('dead-lettered')
    expect(state.ran).toEqual([])
    expect(await rows('state')).toEqual([{ state: 'dropped' }])
    // A later redrive has a newer permission.
    await letters.restore([letter], 'ana')
    expect(await send('m1', { generation: (await begin()).generation })).toBe('handled')
  })

  it('publishes to where the letters came from, in the order of their keys, and hears of their end', async () => {
    const { send, letters, state, work, rows } = await given()
    for (let n = 0; n < 30; n++) await send(`m${n}`, { key: `k${n % 4}` })
    state.broken = false
    const sent: Outgoing[] = []
    let failing = 1
    const publisher = {
      publish: (messages: readonly Outgoing[]) => {
        if (failing-- > 0) return Promise.reject(new Error('no brokers'))
        const bad = messages.findIndex(({ id }) => id === 'm7')
        if (bad >= 0 && messages.length > 0)
          return Promise.reject(
            new PublishError(
              'refused',
              messages.map((_, index) => ({ index, error: new Error('x'), permanent: index === bad })),
            ),
          )
        sent.push(...messages)
        return Promise.resolve()
      },
    }
    const { id } = (await letters.create({}, { route: 'destination' }, 'ana')) ?? expect.fail(none)
    await work({ publisher, targetPipeline: true, pipelines: [] })
    expect(sent.every(({ destination }) => destination === 'orders')).toBe(true)
    for (const key of [0, 1, 2, 3]) {
      const ofKey = sent.map((message) => Number(message.id.slice(1))).filter((n) => n % 4 === key)
      expect(ofKey).toEqual(ofKey.toSorted((a, b) => a - b))
    }
    expect((await letters.redrive(id))?.results).toEqual({ sent: 29, dead: 1 })
    for (const { id: message, key, headers } of sent) await send(message, { key, headers })
    expect(state.ran).toHaveLength(29)
    expect(new Set((await rows('state', 'where state <> $$dead$$')).map((row) => row['state']))).toEqual(
      new Set(['resolved']),
    )
  })

  it('D-19 sends no faster than it was told to, all workers together', async () => {
    const { send, letters, pool, schema } = await given()
    for (let n = 0; n < 5; n++) await send(`m${n}`)
    const { id } = (await letters.create({}, { perSecond: 10 }, 'ana')) ?? expect.fail(none)
    const msOf = async (sql: string) => Number((await pool.query<{ ms: string }>(sql)).rows[0]?.ms)
    const clock = () => msOf('select extract(epoch from clock_timestamp()) * 1000 as ms')
    const fromMs = await clock()
    const waits = await Promise.all(Array.from({ length: 5 }, () => letters.reserve(id, 1)))
    const passedMs = (await clock()) - fromMs
    // Five places of 100 ms one behind the other, whoever took them and however long that took.
    const nextMs = await msOf(`select extract(epoch from next_at) * 1000 as ms from ${schema}.redrive`)
    expect(nextMs - fromMs).toBeGreaterThanOrEqual(500 - 1)
    for (const each of waits) expect(each).toBeLessThanOrEqual(400)
    expect(Math.max(...waits.map((each) => each ?? -1)) + passedMs).toBeGreaterThanOrEqual(400 - 1)
    await letters.pause(id, 'ana')
    expect(await letters.reserve(id, 1)).toBeNull()
  })

  it('learns that a letter died again although the dead letters of its pipeline go elsewhere', async () => {
    const { letters, store, work, send, rows } = await given()
    await send('m1')
    const elsewhere: Outgoing[] = []
    const billing = pipeline('billing')
      .use(deadLetter({ to: { publish: (messages) => Promise.resolve(void elsewhere.push(...messages)) } }))
      .use(idempotency({ store }))
      .handle(() => {
        throw new PermanentError('still a bug')
      })
    await letters.create({}, {}, 'ana')
    await work({ pipelines: [billing] })
    expect(elsewhere).toHaveLength(1)
    expect(await rows('state, deaths')).toEqual([{ state: 'dead', deaths: 2 }])
  })

  it('refuses options that are none', async () => {
    const { letters } = await given()
    for (const options of [
      { perSecond: 0 },
      { perSecond: Number.NaN },
      { canary: 0 },
      { maxRedrives: 1.5 },
      { route: 'x' as never },
    ])
      await expect(letters.create({}, options, 'ana')).rejects.toMatchObject({ code: 'bad-option' })
    await expect(letters.create({}, {}, '')).rejects.toMatchObject({ code: 'bad-option' })
  })
})
