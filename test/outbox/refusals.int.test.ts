import pg from 'pg'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { HoldfastError, PublishError } from '../../src/core/errors.ts'
import { outboxRelay } from '../../src/outbox/relay.ts'
import { migrate } from '../../src/stores/postgres/migrate.ts'
import { postgresOutboxDead } from '../../src/stores/postgres/outbox/dead.ts'
import { postgresOutbox } from '../../src/stores/postgres/outbox/outbox.ts'
import { postgresOutboxStore } from '../../src/stores/postgres/outbox/store.ts'
import { uniqueName } from '../support/services.ts'
import { describeOnBoth, outboxDatabase, target, until, type OutboxDatabase } from './support.ts'

describeOnBoth('what a broker refuses for good', (url) => {
  let db: OutboxDatabase
  beforeEach(async () => {
    db = await outboxDatabase(url())
  })
  afterEach(() => db.dispose())

  /** Refuses the message `bad` with this error, and says how often anything was sent. */
  function refusing(error: unknown) {
    let sends = 0
    const to = target((messages) => {
      sends++
      const index = messages.findIndex(({ id }) => id === 'bad')
      if (index >= 0) throw new PublishError('refused', [{ index, error, permanent: true }])
    })
    return { to, sends: () => sends }
  }

  async function publishedWith(error: unknown, pool: pg.Pool, schema: string) {
    const { to, sends } = refusing(error)
    const ids = ['a', 'bad', 'b', 'c']
    const client = await pool.connect()
    await client.query('begin')
    const messages = ids.map((id) => ({ id, destination: 't', key: `k${id}`, body: Buffer.from('x') }))
    await postgresOutbox({ schema }).add(client, messages)
    await client.query('commit')
    client.release()
    const relay = outboxRelay({ store: postgresOutboxStore(pool, { schema }), publisher: to })
    const stop = new AbortController()
    const running = relay.run(stop.signal)
    await until(() => to.published.length >= 3, 'the good ones are published')
    const dead = postgresOutboxDead(pool, { schema })
    await until(async () => (await dead.list()).length === 1, 'the bad one is set aside')
    const { ready } = relay.health()
    stop.abort()
    await running
    const [{ position, error: text } = { position: '', error: '' }] = await dead.list()
    await dead.remove([position])
    return { text, ready, sends: sends(), ids: to.ids().sort() }
  }

  it('O-7: keeps it once, whatever the text of the refusal holds', async () => {
    const unreadable = Object.defineProperty(new Error(), 'message', {
      get: () => {
        throw new Error('not for you')
      },
    })
    for (const [error, text] of [
      [new Error('bad value "a\0b"'), 'Error: bad value "a\ufffdb"'],
      [new Error('half \ud83d'), 'Error: half \ufffd'],
      [new Error(`${'x'.repeat(1016)}😀`), `Error: ${'x'.repeat(1016)}\ufffd`],
      [unreadable, 'object: the thrown value cannot be read'],
      [null, 'object: null'],
    ] as const) {
      const seen = await publishedWith(error, db.pool, db.schema)
      expect(seen).toMatchObject({ text, ready: true, ids: ['a', 'b', 'c'] })
      // One page a shard, and the bad one again alone.
      expect(seen.sends).toBeLessThanOrEqual(6)
    }
  })

  it('O-7: keeps it once where the encoding of the database lacks characters of the refusal', async () => {
    const name = uniqueName('latin')
    await db.pool.query(`create database ${name} encoding 'LATIN1' locale 'C' template template0`)
    const address = new URL(url())
    address.pathname = `/${name}`
    const pool = new pg.Pool({ connectionString: address.href, max: 5 })
    pool.on('error', () => {})
    await migrate(pool)
    const seen = await publishedWith(new Error('refused 😀 é'), pool, 'holdfast')
    expect(seen).toMatchObject({ text: 'Error: refused ? ?', ready: true, ids: ['a', 'b', 'c'] })
    await pool.end()
    await db.pool.query(`drop database ${name} with (force)`)
  })

  it('refuses to start where the server does not tell its timeline', async () => {
    await db.pool
      .query(`create or replace function ${db.schema}.outbox_timeline() returns text language plpgsql volatile as $$
begin raise exception 'WAL control functions cannot be executed' using errcode = '55000'; end $$`)
    const relay = outboxRelay({
      store: postgresOutboxStore(db.pool, { schema: db.schema }),
      publisher: target(),
    })
    const failed = await relay.run(new AbortController().signal).catch((error: unknown) => error)
    expect(failed).toBeInstanceOf(HoldfastError)
    expect(failed).toMatchObject({ code: 'bad-schema' })
    expect(String(failed)).toContain('write-ahead log')
  })
})
