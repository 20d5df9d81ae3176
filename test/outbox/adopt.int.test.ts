import { afterEach, beforeEach, expect, it } from 'vitest'
import { sequence } from '../../src/ordering/sequence.ts'
import type { OutboxLease, OutboxRow } from '../../src/outbox/store.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { postgresSequenceStore } from '../../src/stores/postgres/outbox/marks.ts'
import { adoptOutbox, changeOutboxShards } from '../../src/stores/postgres/outbox/operations.ts'
import { postgresOutboxStore } from '../../src/stores/postgres/outbox/store.ts'
import { postgresOutbox } from '../../src/stores/postgres/outbox/outbox.ts'
import { describeOnBoth, addCommitted, outboxDatabase, type OutboxDatabase } from './support.ts'

// A logical copy brings the rows and leaves the sequence where it was made: at its beginning.
describeOnBoth('adopting a copy whose sequence begins anew', (url) => {
  let db: OutboxDatabase

  beforeEach(async () => {
    db = await outboxDatabase(url())
    await changeOutboxShards(db.pool, { schema: db.schema, shards: 1 })
  })
  afterEach(async () => {
    await db.dispose()
  })

  const add = (...ids: string[]): Promise<unknown> =>
    addCommitted(
      postgresOutbox({ schema: db.schema }),
      db.pool,
      ids.map((id) => ({ id, destination: 'orders', key: 'k', body: null })),
    )

  async function lease(): Promise<OutboxLease> {
    const claimed = await postgresOutboxStore(db.pool, { schema: db.schema }).claim('test', 60_000, [])
    if (claimed === null) throw new Error('nobody lets go of the shard')
    return claimed
  }

  async function read(held: OutboxLease): Promise<readonly OutboxRow[]> {
    const rows = await held.read(100, 1e6)
    if (rows === 'lost') throw new Error('lost')
    return rows
  }

  const refuse = (held: OutboxLease, rows: readonly OutboxRow[]): Promise<unknown> =>
    held.settle(rows.map(({ position, id }) => ({ position, error: `${id} is refused` })))

  const dead = async (): Promise<string[]> => {
    const { rows } = await db.pool.query<{ error: string }>('select error from outbox_dead order by error')
    return rows.map(({ error }) => error)
  }

  /** Leaves what a copy has: not the positions, and not the sequence. */
  const copied = (): Promise<unknown> =>
    db.pool.query("truncate outbox; alter sequence outbox_id restart 1; update outbox_shard set cluster = 'another'")

  it('draws no id that a dead, a delayed or a waiting message has', async () => {
    const waiting = [
      "insert into outbox (id, topic, type, message_id) values (1000, 'orders', 't', 'm')",
      `insert into outbox_dead (id, topic, type, message_id, created_at, error)
       values (2000, 'orders', 't', 'm', now(), 'no')`,
      "insert into outbox_delayed (seq, topic, type, message_id, due_at) values (3000, 'orders', 't', 'm', now())",
    ]
    for (const [at, insert] of waiting.entries()) {
      await db.pool.query(`${insert}; alter sequence outbox_id restart 1; update outbox_shard set cluster = 'another'`)
      expect(await adoptOutbox(db.pool, { schema: db.schema })).toMatchObject({ adopted: true })
      const { rows } = await db.pool.query<{ id: string }>("select nextval('outbox_id')::text id")
      expect(rows).toEqual([{ id: String((at + 1) * 1000 + 1) }])
    }
  })

  it('O-7: keeps a refused message even where a dead one has its id', async () => {
    await add('old')
    const before = await lease()
    await refuse(before, await read(before))
    const [{ id } = { id: '' }] = (await db.pool.query<{ id: string }>('select id::text from outbox_dead')).rows
    await copied()
    await adoptOutbox(db.pool, { schema: db.schema })
    // Whatever made the two meet: a writer that was quicker than the operator, a sequence that was set by hand.
    await db.pool.query(`select setval('outbox_id', ${id}, false)`)
    await add('new')
    const after = await lease()
    const rows = await read(after)
    expect(rows.map(({ position }) => position)).toEqual([id])
    await refuse(after, rows)
    expect(await dead()).toEqual(['new is refused', 'old is refused'])
  })

  it('O-7: keeps a message once that is published again after adopting, and refused again', async () => {
    await add('bad')
    const before = await lease()
    await refuse(before, await read(before))
    await db.pool.query("update outbox_shard set cluster = 'another'")
    expect(await adoptOutbox(db.pool, { schema: db.schema })).toEqual({ adopted: true, messages: 1 })
    const after = await lease()
    await refuse(after, await read(after))
    expect(await dead()).toEqual(['bad is refused'])
  })

  it('starts sequence() anew: what it remembers of the old outbox may be ahead of the new ids', async () => {
    const handled: string[] = []
    const orders = pipeline('a')
      .use(sequence({ store: postgresSequenceStore(db.pool, { schema: db.schema }) }))
      .handle(({ message: { id } }) => void handled.push(id))
    const deliver = async (held: OutboxLease): Promise<unknown[]> => {
      const outcomes: unknown[] = []
      for (const { id, key, headers } of await read(held))
        outcomes.push(await orders.dispatch({ message: { id, key, headers, body: null } }))
      await held.settle([])
      return outcomes
    }
    await add('a', 'b', 'c')
    expect(await deliver(await lease())).toEqual(['handled', 'handled', 'handled'])
    await copied()
    await adoptOutbox(db.pool, { schema: db.schema })
    await add('d')
    expect(await deliver(await lease())).toEqual(['handled'])
    expect(handled).toEqual(['a', 'b', 'c', 'd'])
  })
})
