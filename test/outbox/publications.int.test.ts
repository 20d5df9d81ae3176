import { afterEach, beforeEach, expect, it } from 'vitest'
import { outboxRelay } from '../../src/outbox/relay.ts'
import { migrate } from '../../src/stores/postgres/migrate.ts'
import { postgresOutboxDead } from '../../src/stores/postgres/outbox/dead.ts'
import { adoptOutbox, changeOutboxShards } from '../../src/stores/postgres/outbox/operations.ts'
import { postgresOutbox } from '../../src/stores/postgres/outbox/outbox.ts'
import { postgresOutboxStore } from '../../src/stores/postgres/outbox/store.ts'
import { uniqueName } from '../support/services.ts'
import { addCommitted, describeOnBoth, outboxDatabase, target, until, type OutboxDatabase } from './support.ts'
import { PublishError } from '../../src/core/errors.ts'

const publications = ['for all tables', "for all tables with (publish = 'insert')", 'for tables in schema holdfast']

// A publication reaches every table of its database, so each test has a database of its own.
describeOnBoth('under a publication', (url) => {
  let admin: OutboxDatabase
  let db: OutboxDatabase
  let name: string
  beforeEach(async () => {
    admin = await outboxDatabase(url())
    name = uniqueName('published')
    await admin.pool.query(`create database ${name}`)
    const address = new URL(url())
    address.pathname = `/${name}`
    db = await outboxDatabase(address.href)
    await migrate(db.pool)
  })
  afterEach(async () => {
    await db.dispose()
    await admin.pool.query(`drop database ${name} with (force)`)
    await admin.dispose()
  })

  it.each(publications)('%s, everything works: delayed and refused messages, adopting, other shards', async (of) => {
    await db.pool.query(`create publication p ${of}`)
    const outbox = postgresOutbox()
    const to = target((messages) => {
      const index = messages.findIndex(({ id }) => id === 'bad')
      if (index >= 0) throw new PublishError('no', [{ index, permanent: true, error: new Error('no') }])
    })
    const relay = outboxRelay({ store: postgresOutboxStore(db.pool), publisher: to, duePollMs: 20, rotateEveryMs: 100 })
    const stop = new AbortController()
    const running = relay.run(stop.signal)
    await addCommitted(outbox, db.pool, [
      { id: 'later', destination: 't', key: 'k', body: null, delayUntil: Date.now() + 100 },
      { id: 'now', destination: 't', key: 'k', body: null },
      { id: 'bad', destination: 't', key: 'k', body: null },
    ])
    await until(() => to.ids().length === 2, 'both are published')
    expect(to.ids()).toEqual(['now', 'later'])
    const dead = postgresOutboxDead(db.pool)
    const [{ position } = { position: '' }] = await dead.list()
    expect(await dead.remove([position])).toBe(1)
    await changeOutboxShards(db.pool, { shards: 3 })
    expect(relay.health()).toMatchObject({ details: { lastError: null } })
    stop.abort()
    await running

    await addCommitted(outbox, db.pool, { id: 'left', destination: 't', body: Buffer.from('x'), headers: { a: 'b' } })
    const before = await db.pool.query('select id, topic, key, type, message_id, headers, payload from holdfast.outbox')
    await db.pool.query("update holdfast.outbox_shard set cluster = 'another'")
    const left = before.rows.length
    expect(await adoptOutbox(db.pool)).toEqual({ adopted: true, messages: left })
    const after = await db.pool.query('select id, topic, key, type, message_id, headers, payload from holdfast.outbox')
    expect(after.rows).toEqual(before.rows)
  })
})
