import { afterEach, expect, it } from 'vitest'
import { PermanentError } from '../../../src/core/errors.ts'
import { headersFrom } from '../../../src/core/message.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import type { Outgoing } from '../../../src/core/publisher.ts'
import { deadLetter } from '../../../src/dead-letter/dead-letter.ts'
import type { LetterFilter } from '../../../src/dead-letter/store.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { memorySequenceStore } from '../../../src/ordering/memory-sequence-store.ts'
import { sequence } from '../../../src/ordering/sequence.ts'
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

const none = 'nobody made a redrive'
const tick = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))

/** The store on one connection whose transaction is open: others see nothing of it until it ends. */
async function inTransaction({ pool, schema }: Service) {
  const client = await pool.connect()
  await client.query('begin')
  const letters = postgresDeadLetters({ query: (text, values) => client.query(text, values) }, { schema })
  const end = async () => {
    await client.query('commit')
    client.release()
  }
  return { letters, end }
}

/** Waits until somebody waits for a lock that another transaction has. */
async function untilBlocked({ pool, schema }: Service): Promise<void> {
  for (;;) {
    const { rows } = await pool.query(
      `select 1 from pg_stat_activity where wait_event_type = 'Lock' and query like $1 and pid <> pg_backend_pid()`,
      [`%${schema}%`],
    )
    if (rows.length > 0) return
    await tick(10)
  }
}

describeOnBothServers(
  'hazards of dead letters',
  () => {
    it('D-5 redrives a letter whose key has another content only once it is edited', async () => {
      const { send, letters, state, work, made } = await given()
      const strict = pipeline('strict')
        .use(deadLetter({ to: letters }))
        .use(
          idempotency({ store: open[0]?.store ?? expect.fail(), fingerprint: ({ message }) => String(message.body) }),
        )
        .handle(({ message }) => void state.ran.push(String(message.body)))
      await send('m1', { to: strict, body: 'one' })
      expect(await send('m1', { to: strict, body: 'two' })).toBe('dead-lettered')
      expect(await letters.preview({})).toMatchObject({ matched: 1, free: 0, conflicts: 1 })
      expect(await letters.create({}, {}, 'ana')).toBeUndefined()
      const [id = ''] = (await letters.list({})).letters.map((letter) => letter.id)
      await letters.edit(id, 0, {}, 'ana')
      expect(await letters.preview({})).toMatchObject({ matched: 1, free: 1, conflicts: 0 })
      await letters.create({}, {}, 'ana')
      await work({ pipelines: [strict, made('billing')] })
      expect(state.ran).toEqual(['one', 'two'])
    })

    it('D-6 runs a letter in the pipeline that failed, and in another group only where that is asked for', async () => {
      const { send, letters, state, work, billing, made } = await given()
      const shipping = made('shipping')
      await send('m1')
      state.broken = false
      await send('m1', { to: shipping })
      expect(state.ran).toEqual(['m1'])
      const sent: Outgoing[] = []
      const publisher = { publish: (messages: readonly Outgoing[]) => Promise.resolve(void sent.push(...messages)) }
      const redrive = (await letters.create({}, {}, 'ana')) ?? expect.fail(none)
      await work({ publisher, pipelines: [billing, shipping] })
      expect((await letters.redrive(redrive.id))?.results).toEqual({ resolved: 1 })
      expect(sent).toEqual([])
      expect(state.ran).toEqual(['m1', 'm1'])

      state.broken = true
      await send('m2', { key: 'k' })
      state.broken = false
      await letters.create({}, { route: 'destination' }, 'ana')
      await work({ publisher, targetPipeline: true, pipelines: [] })
      const [copy] = sent
      const read = (to: typeof billing) =>
        to.dispatch({ message: copy ?? expect.fail('nothing sent'), origin: { destination: 'orders' } })
      expect(await read(shipping)).toBe('discarded')
      expect(await read(billing)).toBe('handled')
    })

    it('D-8 changes nothing where its key has had something newer since, as far as sequence() can tell', async () => {
      const { letters, store, work } = await given()
      const [ran, state] = [[] as string[], { broken: true }]
      const prices = pipeline('prices')
        .use(deadLetter({ to: letters }))
        .use(idempotency({ store }))
        .use(sequence({ store: memorySequenceStore() }))
        .handle(({ message }) => {
          if (state.broken) throw new PermanentError('a bug')
          ran.push(message.id)
        })
      const send = (id: string, position: number) =>
        prices.dispatch({
          message: { id, key: 'k', body: null, headers: headersFrom([['outbox-id', `shop/1/${position}`]]) },
          origin: { destination: 'prices' },
        })
      await send('old', 5)
      state.broken = false
      expect(await send('new', 9)).toBe('handled')
      const redrive = (await letters.create({}, {}, 'ana')) ?? expect.fail(none)
      await work({ pipelines: [prices] })
      expect(ran).toEqual(['new'])
      expect((await letters.redrive(redrive.id))?.results).toEqual({ resolved: 1 })
    })

    it('D-9 leaves to another redrive what that took first, and counts only what it took itself', async () => {
      const made = await given()
      const { send, letters, state, work } = made
      for (let n = 0; n < 6; n++) await send(`m${n}`)
      const ids = (await letters.list({}, { order: 'oldest' })).letters.map(({ id }) => id)
      const first = await inTransaction(made)
      const mine = (await first.letters.create({ ids: ids.slice(0, 4) }, {}, 'ana')) ?? expect.fail(none)
      const theirs = letters.create({}, {}, 'bob')
      await untilBlocked(made)
      await first.end()
      expect(mine.total).toBe(4)
      expect(await theirs).toMatchObject({ total: 2, open: 2 })
      // What joins between the look and the act is in neither.
      await send('late')
      state.broken = false
      await work()
      expect(state.ran.toSorted()).toEqual(['m0', 'm1', 'm2', 'm3', 'm4', 'm5'])
      expect(await letters.count({})).toBe(1)
    })

    it('D-10 does not drop, nor edit, a letter that is being sent at this moment', async () => {
      for (const act of ['drop', 'edit'] as const) {
        const made = await given()
        const { send, letters, rows } = made
        await send('m1', { key: 'k' })
        const { id } = (await letters.create({}, {}, 'ana')) ?? expect.fail(none)
        const lanes = await letters.claimLanes(id, 1, { owner: 'o', leaseMs: 60_000, pipelines: null })
        const worker = await inTransaction(made)
        const [begun] = await worker.letters.begin(id, lanes, 1)
        const letter = begun?.letter.id ?? ''
        const acted = act === 'drop' ? letters.drop({}, 'bob') : letters.edit(letter, 0, {}, 'bob')
        await untilBlocked(made)
        await worker.end()
        expect(await acted).toEqual(act === 'drop' ? [] : undefined)
        expect(await rows('state')).toEqual([{ state: 'redriving' }])
        // And one that is sent already.
        expect(await letters.drop({}, 'bob')).toEqual([])
        expect(await letters.edit(letter, 0, {}, 'bob')).toBeUndefined()
      }
    })

    it('D-11 edits a letter once, however many edit it, and links both', async () => {
      const made = await given()
      const { send, letters } = made
      await send('m1')
      const [id = ''] = (await letters.list({})).letters.map((letter) => letter.id)
      const first = await inTransaction(made)
      const mine = await first.letters.edit(id, 0, { body: Buffer.from('mine') }, 'ana')
      const theirs = letters.edit(id, 0, { body: Buffer.from('theirs') }, 'bob')
      await untilBlocked(made)
      await first.end()
      expect(await theirs).toBeUndefined()
      expect(await letters.letter(id)).toMatchObject({ state: 'replaced', replacedBy: mine })
      expect(await letters.letter(mine ?? '')).toMatchObject({ state: 'dead', replaces: id })
      expect((await letters.list({})).letters).toHaveLength(1)
    })

    it('keeps a letter that was sent until its end is known, and a death of the copy comes back to it', async () => {
      const { send, letters, work, rows } = await given()
      await send('m1', { key: 'k' })
      const sent: Outgoing[] = []
      const publisher = { publish: (messages: readonly Outgoing[]) => Promise.resolve(void sent.push(...messages)) }
      await letters.create({}, { route: 'destination' }, 'ana')
      await work({ publisher, pipelines: [] })
      expect(await rows('state, body')).toEqual([{ state: 'redriving', body: Buffer.from('{}') }])
      const [copy] = sent
      await send('m1', { key: 'k', headers: copy?.headers ?? expect.fail('nothing sent') })
      expect(await rows('state, deaths')).toEqual([{ state: 'dead', deaths: 2 }])
    })

    it('a lane that goes on does not send a letter that has ended since it was begun', async () => {
      const { send, letters, state, work, rows } = await given()
      await send('m1', { key: 'k' })
      const { id } = (await letters.create({}, {}, 'ana')) ?? expect.fail(none)
      const claim = { owner: 'killed', leaseMs: 20, pipelines: null }
      const [begun] = await letters.begin(id, await letters.claimLanes(id, 1, claim), 1)
      await send('m1', { key: 'k', generation: begun?.generation ?? 0 })
      await letters.drop({}, 'ana')
      const handled: string[] = []
      state.handle = ({ message }) => void handled.push(message.id)
      await tick(30)
      await work()
      expect(handled).toEqual([])
      expect(await rows('state, redrives')).toEqual([{ state: 'dropped', redrives: 1 }])
      expect((await letters.redrive(id))?.results).toEqual({ skipped: 1 })
    })

    it('D-29 never gives one generation twice, not even to a letter that a late delivery brings back after its clean-up', async () => {
      const { send, letters, state, work, pool, schema } = await given({ retainMs: 1000 })
      await send('m1', { key: 'k' })
      const begin = async () => {
        const { id } = (await letters.create({}, {}, 'ana')) ?? expect.fail(none)
        const lanes = await letters.claimLanes(id, 1, { owner: 'o', leaseMs: 20, pipelines: null })
        const [begun] = await letters.begin(id, lanes, 1)
        return begun?.generation ?? expect.fail('not begun')
      }
      const first = await begin()
      await work()
      await letters.drop({}, 'ana')
      await pool.query(`update ${schema}.dead_letter set changed_at = now() - interval '1 h'`)
      expect(await letters.clean()).toBe(1)
      // A late delivery of the original brings it back; nothing runs without a new redrive.
      await send('m1', { key: 'k' })
      const [late] = (await letters.list({})).letters
      expect(late).toMatchObject({ state: 'dead', redrives: 0 })
      state.broken = false
      await work()
      expect(state.ran).toEqual([])
      expect(await begin()).toBeGreaterThan(first)
      await work()
      expect(state.ran).toEqual(['m1'])
    })

    it('D-19 publishes in pages of a tenth of the rate', async () => {
      const { send, letters, work } = await given()
      for (let n = 0; n < 30; n++) await send(`m${n}`)
      const pages: number[] = []
      const publisher = {
        publish: (messages: readonly Outgoing[]) => Promise.resolve(void pages.push(messages.length)),
      }
      await letters.create({}, { route: 'destination', perSecond: 100 }, 'ana')
      await work({ publisher, pipelines: [] })
      expect(Math.max(...pages)).toBe(10)
      expect(pages.reduce((sum, each) => sum + each, 0)).toBe(30)
    })

    it('keeps its lanes while it publishes, however long that takes, so that no other worker sends the same letters', async () => {
      const { send, letters, work } = await given()
      for (let n = 0; n < 6; n++) await send(`m${n}`, { key: `k${n % 2}` })
      const sent: string[] = []
      const publisher = {
        async publish(messages: readonly Outgoing[]) {
          await tick(900)
          sent.push(...messages.map(({ id }) => id))
        },
      }
      await letters.create({}, { route: 'destination' }, 'ana')
      const slow = { publisher, pipelines: [], leaseMs: 300, pollMs: 20 }
      await Promise.all([work(slow), work(slow)])
      expect(sent.toSorted()).toEqual(['m0', 'm1', 'm2', 'm3', 'm4', 'm5'])
    })

    it('D-20 writes no row that failing messages share: nobody waits for another death', async () => {
      const made = await given()
      const { letters, send } = made
      const dead = async (id: string): Promise<Outgoing> => {
        const published: Outgoing[] = []
        await pipeline('billing')
          .use(deadLetter({ to: { publish: (messages) => Promise.resolve(void published.push(...messages)) } }))
          .handle(() => {
            throw new PermanentError('a bug')
          })
          .dispatch({ message: { id, key: 'k', body: null }, origin: { destination: 'orders' } })
        return published[0] ?? expect.fail('no letter')
      }
      const first = await inTransaction(made)
      await first.letters.publish([await dead('a')])
      // The same pipeline, key and group: it would wait for ever.
      await letters.publish([await dead('b')])
      await send('c', { key: 'k' })
      expect(await letters.count({})).toBe(2)
      await first.end()
      expect(await letters.count({})).toBe(3)
    })

    it('D-25 sets its limit with each question: a new connection has it too, and no other question', async () => {
      const { letters, pool, schema } = await given({ questionMs: 200 })
      for (let round = 0; round < 2; round++) {
        const client = await pool.connect()
        await client.query(`begin; lock table ${schema}.dead_letter in access exclusive mode`)
        await expect(letters.list({})).rejects.toMatchObject({ code: '57014' })
        await client.query('rollback')
        client.release()
        // Whichever connection it was: none keeps the limit.
        const all = await Promise.all(Array.from({ length: 10 }, () => pool.connect()))
        const limits = await Promise.all(all.map((each) => each.query('show statement_timeout')))
        for (const each of all) each.release()
        for (const { rows } of limits) expect(rows).toEqual([{ statement_timeout: '0' }])
        await pool.query(
          `select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and query like $1`,
          [`%${schema}%`],
        )
      }
    })

    it('D-18 touches no more of the table for a late page, or for a key with many letters, than for the first page', async () => {
      const { pool, schema } = await given()
      await pool.query(`insert into ${schema}.dead_letter (fold, pipeline, system, destination, message_id, key, type,
  produced_ms, reason, error_name, error_message, fingerprint, attempts, dead_at)
select md5(n::text)::uuid, 'p', 'kafka', 'orders', 'm' || n, case when n % 2 = 0 then 'hot' else 'k' || n end, 't', 0,
  'permanent', 'E', 'e', 'f', 1, now() - n * interval '1 s' from generate_series(1, 20000) n`)
      await pool.query(`vacuum analyze ${schema}.dead_letter`)
      let blocks = 0
      const query = async (text: string, values: unknown[]) => {
        const { rows } = await pool.query<{ 'QUERY PLAN': [{ Plan: Record<string, number> }] }>(
          `explain (analyze, buffers, format json) ${text}`,
          values,
        )
        const plan = rows[0]?.['QUERY PLAN'][0].Plan ?? {}
        blocks = (plan['Shared Hit Blocks'] ?? 0) + (plan['Shared Read Blocks'] ?? 0)
        return { rows: [], rowCount: 0 }
      }
      const letters = postgresDeadLetters({ query }, { schema })
      const cost = async (filter: LetterFilter, before?: string) => {
        await letters.list(filter, { limit: 10, ...(before !== undefined && { before }) })
        return blocks
      }
      const first = await cost({})
      expect(await cost({ reason: 'conflict' })).toBeLessThan(20)
      const { us, id } = (
        await pool.query<{ us: string; id: string }>(
          `select (extract(epoch from dead_at) * 1000000)::bigint::text as us, id::text from ${schema}.dead_letter order by dead_at offset 100 limit 1`,
        )
      ).rows[0] ?? { us: '', id: '' }
      expect(first).toBeLessThan(100)
      expect(await cost({}, `${us}.${id}`)).toBeLessThan(100)
      expect(await cost({ key: 'hot' })).toBeLessThan(100)
      expect(await cost({ key: 'k77' })).toBeLessThan(20)
      expect(await cost({ messageId: 'm77' })).toBeLessThan(20)
      await letters.list({}, { states: ['resolved'], limit: 10 })
      expect(blocks).toBeLessThan(20)
    })
  },
  { newestIn: 'full' },
)
