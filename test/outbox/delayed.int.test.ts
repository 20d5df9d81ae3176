import pg from 'pg'
import { afterEach, beforeEach, expect, it } from 'vitest'
import { outboxRelay } from '../../src/outbox/relay.ts'
import { postgresOutboxDelayed } from '../../src/stores/postgres/outbox/delayed.ts'
import { outboxGrants } from '../../src/stores/postgres/outbox/grants.ts'
import { postgresOutbox } from '../../src/stores/postgres/outbox/outbox.ts'
import { postgresOutboxStore } from '../../src/stores/postgres/outbox/store.ts'
import { subscribe } from '../../src/core/events.ts'
import { headerText } from '../../src/core/message.ts'
import { uniqueName } from '../support/services.ts'
import {
  addCommitted,
  describeOnBoth,
  outboxDatabase,
  target,
  until,
  type OutboxDatabase,
  type Target,
} from './support.ts'

const hour = 3_600_000

describeOnBoth('delayed messages', (url) => {
  let db: OutboxDatabase
  const ending: (() => unknown)[] = []
  beforeEach(async () => {
    db = await outboxDatabase(url())
  })
  afterEach(async () => {
    for (const end of ending.splice(0)) await end()
    await db.dispose()
  })

  const delayed = () => postgresOutboxDelayed({ schema: db.schema })
  const add = (ids: readonly string[], more: object = {}): Promise<unknown> =>
    addCommitted(
      postgresOutbox({ schema: db.schema }),
      db.pool,
      ids.map((id, n) => ({ id, destination: 't', key: 'k', body: null, delayUntil: Date.now() + hour + n, ...more })),
    )

  function relaying(): Target {
    const to = target()
    const store = postgresOutboxStore(db.pool, { schema: db.schema })
    const stop = new AbortController()
    const running = outboxRelay({ store, publisher: to, duePollMs: 10 }).run(stop.signal)
    ending.push(() => (stop.abort(), running))
    return to
  }

  it('are listed, the soonest first, page by page', async () => {
    await add(['a', 'b', 'c'], { headers: { source: 'shop' } })
    const first = await delayed().list(db.pool, { limit: 2 })
    expect(first).toMatchObject([
      { id: 'a', destination: 't', key: 'k', type: 't', headers: { source: 'shop' } },
      { id: 'b' },
    ])
    expect(first[0]?.dueMs).toBeGreaterThan(Date.now() + hour - 60_000)
    expect(await delayed().list(db.pool, { after: first[1]?.position ?? '' })).toMatchObject([{ id: 'c' }])
  })

  it('are cancelled by their ids, and the answer says which will not leave', async () => {
    await add(['a', 'b'])
    await add(['a'], { destination: 'other' })
    await add(['now'], { delayUntil: undefined })
    expect(await delayed().cancel(db.pool, ['a', 'now', 'none'], { destination: 't' })).toEqual(['a'])
    expect((await delayed().list(db.pool)).map(({ id, destination }) => [id, destination])).toEqual([
      ['b', 't'],
      ['a', 'other'],
    ])
    expect(await delayed().cancel(db.pool, 'a')).toEqual(['a'])
    expect(await delayed().cancel(db.pool, 'a')).toEqual([])
  })

  it('are rescheduled by their ids, and leave then', async () => {
    await add(['a', 'b', 'c'])
    expect(await delayed().reschedule(db.pool, ['b', 'none'], new Date(Date.now() + 50))).toEqual(['b'])
    const to = relaying()
    await until(() => to.ids().length === 1, 'b leaves')
    expect(to.ids()).toEqual(['b'])
    expect((await delayed().list(db.pool)).map(({ id }) => id)).toEqual(['a', 'c'])
    for (const time of [NaN, 'tomorrow', undefined])
      await expect(delayed().reschedule(db.pool, 'a', time as number)).rejects.toMatchObject({ code: 'bad-option' })
  })

  it('are cancelled with the transaction: what rolls back leaves, and nothing waits for it meanwhile', async () => {
    await add(['a', 'b', 'c'], { delayUntil: Date.now() - 1000 })
    const [keeps, cancels] = [await db.connect(), await db.connect()]
    for (const client of [keeps, cancels]) await client.query('begin')
    expect(await delayed().cancel(keeps, 'a')).toEqual(['a'])
    expect(await delayed().cancel(cancels, 'b')).toEqual(['b'])
    const to = relaying()
    // The shard goes on although two of its rows are locked.
    await until(() => to.ids().length === 1, 'c leaves')
    await cancels.query('commit')
    await keeps.query('rollback')
    await until(() => to.ids().length === 2, 'a leaves after the rollback')
    expect(to.ids()).toEqual(['c', 'a'])
  })

  it('leave or are cancelled, never both and never neither, while relays move them', async () => {
    const ids = Array.from({ length: 300 }, (_, n) => `m${n}`)
    await add(ids, { delayUntil: Date.now() + 200 })
    const to = relaying()
    const cancelled: string[] = []
    await until(async () => {
      const some = ids.filter(() => Math.random() < 0.05)
      cancelled.push(...(await delayed().cancel(db.pool, some)))
      return new Set([...to.ids(), ...cancelled]).size === ids.length
    }, 'each has left or was cancelled')
    expect([...to.ids(), ...cancelled].sort()).toEqual([...ids].sort())
  })

  it('are open to a role with the grants of a scheduler', async () => {
    const role = uniqueName('scheduler')
    await db.pool.query(`create role ${role} login; ${outboxGrants({ schema: db.schema, scheduler: role })}`)
    const address = new URL(url())
    address.username = role
    const pool = new pg.Pool({ connectionString: address.href, max: 1 })
    await add(['a', 'b'])
    expect(await delayed().reschedule(pool, 'a', Date.now() + 2 * hour)).toEqual(['a'])
    expect(await delayed().cancel(pool, 'b')).toEqual(['b'])
    expect(await delayed().list(pool)).toMatchObject([{ id: 'a' }])
    await pool.end()
    await db.pool.query(`drop owned by ${role}; drop role ${role}`)
  })

  it('expire: what the database says is too late is discarded and told, delayed or not', async () => {
    const told: string[] = []
    ending.push(subscribe('outbox-expired', ({ messageId }) => told.push(messageId)))
    const soon = Date.now() + hour
    await add(['late'], { delayUntil: undefined, expiresAt: Date.now() - hour })
    await add(['late and delayed'], { delayUntil: Date.now() + 20, expiresAt: Date.now() - hour })
    await add(['in time'], { delayUntil: undefined, expiresAt: new Date(soon) })
    const to = relaying()
    await until(() => to.ids().length === 1 && told.length === 2, 'one leaves and two are told')
    expect(to.ids()).toEqual(['in time'])
    expect(told.sort()).toEqual(['late', 'late and delayed'])
    expect(headerText(to.published[0]?.headers ?? {}, 'message-expires-at')).toBe(String(soon))
    const { rows } = await db.pool.query('select from outbox_dead union all select from outbox_delayed')
    expect(rows).toEqual([])
  })
})
