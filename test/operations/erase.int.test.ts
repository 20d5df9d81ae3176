import { afterEach, beforeEach, expect, it } from 'vitest'
import { RetryLater } from '../../src/core/errors.ts'
import { deadLetter, idempotency, PermanentError, pipeline } from '../../src/index.ts'
import { outboxRelay } from '../../src/outbox/relay.ts'
import {
  migrate,
  postgresDeadLetters,
  postgresOperatorStore,
  postgresOutbox,
  postgresOutboxStore,
} from '../../src/stores/postgres/index.ts'
import { holdfast } from '../cli/support.ts'
import { realWorld, type RealWorld } from '../ordering/parking/real.ts'
import { addCommitted, target } from '../outbox/support.ts'
import { describeWith, uniqueName } from '../support/services.ts'

describeWith(['postgres'], 'erasing a subject', () => {
  let world: RealWorld
  beforeEach(async () => {
    world = await realWorld({ whenDead: 'block-key', parkAfterMs: 500 })
  })
  afterEach(() => world.dispose())

  /** Three rows of ada in each table, and one of bob. */
  async function filled() {
    const { pool, schema, store } = world
    const letters = postgresDeadLetters(pool, { schema, subject: ({ message }) => message.key })
    const operator = postgresOperatorStore(pool, { schema, letters })
    const dying = pipeline('dying')
      .use(deadLetter({ to: letters }))
      .use(idempotency({ store }))
      .handle(async ({ message }) => {
        throw new PermanentError(`no stock for ${message.id}`)
      })
    const waits = new RetryLater(60_000)
    world.handler.now = () => Promise.reject(waits)
    for (const [key, ids] of Object.entries({ ada: ['1', '2', '3'], bob: ['4'] }))
      for (const id of ids) {
        await dying.dispatch({ message: { id: `d-${id}`, key, body: Buffer.from(`about ${key}`) } })
        expect(await world.send(`p-${id}`, key)).toBe('parked')
      }
    const messages = (key: string) => [
      { id: `${key}-now`, destination: 't', key, body: Buffer.from(key) },
      { id: `${key}-later`, destination: 't', key, body: Buffer.from(key), delayUntil: Date.now() + 3_600_000 },
    ]
    await addCommitted(postgresOutbox({ schema }), pool, [...messages('ada'), ...messages('bob')])
    await pool.query(
      `insert into ${schema}.outbox_dead (id, topic, key, type, message_id, created_at, error)
       values (1, 't', 'ada', 't', 'x', now(), 'e'), (2, 't', 'bob', 't', 'y', now(), 'e')`,
    )
    return { letters, operator }
  }

  async function texts(): Promise<string> {
    const { pool, schema } = world
    const tables = ['dead_letter', 'parked', 'parked_lane', 'outbox', 'outbox_delayed', 'outbox_dead', 'operator_log']
    const all = await Promise.all(
      tables.map(
        async (table) => (await pool.query<{ row: string }>(`select t::text as row from ${schema}.${table} t`)).rows,
      ),
    )
    return all
      .flat()
      .map(({ row }) =>
        Buffer.from(
          row.replaceAll(/\\x([0-9a-f]+)/g, (_, hex: string) => Buffer.from(hex, 'hex').toString()),
        ).toString(),
      )
      .join('\n')
  }

  it('empties the letters, deletes parked and outbox rows, leaves others alone, and names nobody in the log', async () => {
    const { operator } = await filled()
    expect(await operator.erasable?.('ada')).toEqual({ letters: 3, parked: 3, outbox: 3, left: 0 })
    expect(await operator.erase?.('ada', 'officer')).toEqual({ letters: 3, parked: 3, outbox: 3, left: 0 })
    expect(await operator.erasable?.('ada')).toEqual({ letters: 0, parked: 0, outbox: 0, left: 0 })
    expect(await operator.erasable?.('bob')).toEqual({ letters: 1, parked: 1, outbox: 3, left: 0 })
    const [noted] = await operator.letters.log({ limit: 1 })
    expect(noted).toMatchObject({ by: 'officer', act: 'erase', detail: { letters: 3, parked: 3, outbox: 3, left: 0 } })
    // The lane of a key that is empty ends with its worker.
    world.handler.now = () => {}
    await world.pool.query(`update ${world.schema}.parked_lane set next_at = now()`)
    await world.work(world.isFree)
    expect(await world.effects()).toEqual(['p-4'])
    const left = await texts()
    expect(left).not.toMatch(/ada/)
    expect(left).toMatch(/bob/)
  })

  it('D-17 is not published or handled afterwards', async () => {
    const { operator } = await filled()
    await operator.erase?.('ada', 'officer')
    const to = target()
    const stop = new AbortController()
    const relay = outboxRelay({ store: postgresOutboxStore(world.pool, { schema: world.schema }), publisher: to })
    const running = relay.run(stop.signal)
    await expect.poll(() => to.ids()).toEqual(['bob-now'])
    stop.abort()
    await running
    world.handler.now = () => {}
    expect(await world.send('p-9', 'ada')).toBe('parked')
    await world.work(async () => (await world.effects()).includes('p-9'))
    expect((await world.effects()).filter((id) => id !== 'p-4')).toEqual(['p-9'])
  })

  it('leaves what a worker handles at this moment, says so, and erases it the next time', async () => {
    const { operator } = await filled()
    const [lane] = (await operator.parked?.({ key: 'ada' })) ?? []
    await world.pool.query(
      `update ${world.schema}.parked_lane set token = nextval('${world.schema}.fence'), owner = 'w', next_at = now() + interval '1 h' where lane = $1`,
      [lane?.lane],
    )
    expect(await operator.erase?.('ada', 'officer')).toMatchObject({ parked: 2, left: 1 })
    await world.pool.query(`update ${world.schema}.parked_lane set token = null, owner = null where lane = $1`, [
      lane?.lane,
    ])
    expect(await operator.erase?.('ada', 'officer')).toMatchObject({ parked: 1, left: 0 })
  })

  it('says what is left under a publication of all tables, which lets nobody delete outbox rows', async () => {
    const { pool, url } = world
    const name = uniqueName('published')
    await pool.query(`create database ${name}`)
    const address = new URL(url)
    address.pathname = `/${name}`
    const { default: pg } = await import('pg')
    const own = new pg.Pool({ connectionString: address.href })
    // The database is dropped under its connections.
    own.on('error', () => {})
    try {
      await migrate(own)
      await own.query('create publication p for all tables')
      await addCommitted(postgresOutbox(), own, [{ destination: 't', key: 'ada', body: null }])
      const operator = postgresOperatorStore(own)
      expect(await operator.erase?.('ada', 'officer')).toEqual({ letters: 0, parked: 0, outbox: 0, left: 1 })
    } finally {
      await own.end()
      await pool.query(`drop database ${name} with (force)`)
    }
  })

  it('a schema with the outbox alone has outbox rows to erase', async () => {
    const { pool } = world
    const schema = uniqueName('only')
    await migrate(pool, { schema, features: ['outbox'] })
    try {
      await addCommitted(postgresOutbox({ schema }), pool, [{ destination: 't', key: 'ada', body: null }])
      const operator = postgresOperatorStore(pool, { schema })
      expect(await operator.erase?.('ada', 'officer')).toEqual({ letters: 0, parked: 0, outbox: 1, left: 0 })
    } finally {
      await pool.query(`drop schema ${schema} cascade`)
    }
  })

  it('the command asks for the number, erases, and tells what', async () => {
    await filled()
    const env = { HOLDFAST_POSTGRES_URL: world.url, HOLDFAST_SCHEMA: world.schema, HOLDFAST_OPERATOR: 'officer' }
    const refused = await holdfast('erase --subject ada', { env })
    expect(refused).toMatchObject({ exit: 4, out: '' })
    // The command's own store knows the letters of no subject function: their column does.
    expect(refused.err).toContain('9 rows for good: 3 letters, 3 parked messages, 3 outbox rows')
    expect(await holdfast('erase --subject ada --yes', { env })).toMatchObject({
      exit: 0,
      out: 'erased: 3 letters, 3 parked messages, 3 outbox rows\n',
    })
    const again = await holdfast('erase --subject ada --json', { env })
    expect([again.exit, JSON.parse(again.out)]).toEqual([0, { letters: 0, parked: 0, outbox: 0, left: 0 }])
    expect(await holdfast('erase', { env })).toMatchObject({ exit: 2 })
  })
})
