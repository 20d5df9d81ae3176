import { afterEach, expect, it } from 'vitest'
import { explanationAsMermaid, operations } from '../../src/operations/index.ts'
import { outgoing } from '../../src/core/publisher.ts'
import { postgresOperatorStore, postgresOutbox } from '../../src/stores/postgres/index.ts'
import { describeOnBothServers, service } from '../stores/postgres/dead-letter-support.ts'

type Service = Awaited<ReturnType<typeof service>>
const open: Service[] = []
async function given() {
  const made = await service()
  open.push(made)
  const store = postgresOperatorStore(made.pool, { schema: made.schema, letters: made.letters })
  return { ...made, operator: store, ops: operations({ store, cacheMs: 0 }) }
}
afterEach(async () => {
  for (const each of open.splice(0)) await each.dispose()
})

describeOnBothServers(
  'operations()',
  () => {
    it('shows at a glance what is dead, what is redriven, what waits in the outbox and which keys are stuck', async () => {
      const { ops, send, letters, store, pool, schema } = await given()
      for (const id of ['m1', 'm2']) await send(id)
      await letters.create({ messageId: 'm1' }, {}, 'ana')
      await store.claim({ scope: 'billing', key: 'stuck', owner: 'gone', leaseMs: 60_000, fingerprint: null })
      await pool.query(`update ${schema}.idempotency set lease_until = now() - interval '1 h' where key = 'stuck'`)
      expect(await ops.overview()).toMatchObject({
        letters: 2,
        groups: [{ letters: 2, shape: 'a bug', pipeline: 'billing' }],
        moreGroups: false,
        redrives: [{ total: 1, open: 1, by: 'ana' }],
        outbox: { pending: 0, dead: 0 },
        staleKeys: [{ scope: 'billing', key: 'stuck', state: 'in-progress' }],
      })
    })

    it('looks for stuck keys among the newest where there are very many, and says so', async () => {
      const { ops, operator, store, pool, schema } = await given()
      for (const key of ['old', 'new']) {
        await store.claim({ scope: 'billing', key, owner: key, leaseMs: 60_000, fingerprint: null })
      }
      await pool.query(`update ${schema}.idempotency set lease_until = now() - interval '1 h'`)
      await pool.query(`update ${schema}.idempotency set added_on = added_on - 3 where key = 'old'`)
      const keys = async (lookAt?: number) =>
        (await operator.keys(lookAt === undefined ? {} : { lookAt })).map(({ key }) => key).toSorted()
      expect(await keys()).toEqual(['new', 'old'])
      expect(await operator.keysBound?.({ lookAt: 1 })).toBeUndefined()
      await pool.query(`analyze ${schema}.idempotency`)
      expect(await operator.keysBound?.({ lookAt: 1 })).toEqual({ newest: 1, of: 2 })
      expect(await keys(1)).toEqual(['new'])
      expect(await keys()).toEqual(['new', 'old'])
      expect((await ops.overview()).keysBound).toBeUndefined()
    })

    it('masks a body unless it is revealed, and writes down who revealed it', async () => {
      const { ops, send, letters } = await given()
      await send('m1', { body: '{"card":"4111","lines":[{"n":1},{"n":2}]}' })
      const [id = ''] = (await letters.list({})).letters.map((letter) => letter.id)
      const masked = await ops.show(id)
      expect(masked?.body).not.toContain('4111')
      expect(masked?.body).toContain('"card": "<string>"')
      expect(masked).toMatchObject({ revealed: false, bodyBytes: 41 })
      expect(await letters.log()).toEqual([])
      expect((await ops.show(id, { reveal: true, by: 'ana' }))?.body).toContain('4111')
      expect(Buffer.from((await ops.body(id, 'bob')) ?? []).toString()).toContain('4111')
      expect(await letters.log()).toMatchObject([
        { by: 'bob', act: 'reveal', letter: id },
        { by: 'ana', act: 'reveal' },
      ])
      expect(await ops.show('99999')).toBeUndefined()
    })

    it('gives back a key whose lease has ended, one that is held only by force, and forgets a key', async () => {
      const { operator, store, pool, schema, letters } = await given()
      const held = await store.claim({ scope: 's', key: 'k', owner: 'o', leaseMs: 60_000, fingerprint: null })
      expect(await operator.unblock('s', 'k', 'ana')).toBe('held')
      expect(await operator.forget('s', 'k', 'ana')).toBe(false)
      expect(await operator.unblock('s', 'k', 'ana', { force: true })).toBe('ok')
      if (held.state === 'claimed')
        expect(await store.complete({ scope: 's', key: 'k', token: held.token }, 1000)).toBe('lost')
      expect(await operator.unblock('s', 'none', 'ana')).toBe('none')
      expect(await operator.claims('k')).toMatchObject([{ scope: 's', key: 'k', state: 'released', attempts: 1 }])
      expect(await operator.forget('s', 'k', 'ana')).toBe(true)
      expect(await operator.claims('k', 's')).toEqual([])
      expect((await letters.log()).map(({ act }) => act)).toEqual(['idempotency forget', 'keys unblock'])
      expect((await pool.query(`select count(*)::int as n from ${schema}.idempotency`)).rows).toEqual([{ n: 0 }])
    })

    it('tells what happened to a message, from its outbox to its redrive', async () => {
      const { ops, send, letters, state, work, pool, schema, operator } = await given()
      const outbox = postgresOutbox({ schema })
      const client = await pool.connect()
      await client.query('begin')
      await outbox.add(client, outgoing({ destination: 'orders', id: 'm1', body: null }))
      await client.query('commit')
      client.release()
      await operator.writeJournal([
        {
          messageId: 'm1',
          pipeline: 'billing',
          what: 'attempt-failed',
          attempt: 1,
          atMs: Date.now(),
          detail: 'E\0: x',
        },
      ])
      await send('m1', { key: 'k' })
      state.broken = false
      await letters.create({}, {}, 'ana')
      await work()
      const told = await ops.explain('m1')
      expect(told.happenings.map(({ source }) => source)).toEqual(
        expect.arrayContaining(['outbox', 'journal', 'dead letter', 'redrive', 'claim']),
      )
      expect(told.happenings.at(-1)).toMatchObject({ source: 'claim', who: 'billing', atMs: null })
      expect(told.happenings.at(-1)?.what).toContain('completed')
      expect(told.incomplete).toEqual([])
      const times = told.happenings.flatMap(({ atMs }) => (atMs === null ? [] : [atMs]))
      expect(times).toEqual(times.toSorted((a, b) => a - b))
      expect(explanationAsMermaid(told).split('\n')).toHaveLength(
        2 + new Set(told.happenings.map(({ who }) => who)).size + told.happenings.length,
      )
      expect((await ops.explain('nobody knows it')).happenings).toEqual([])
    })

    it('says which steps of the schema are applied, missing and newer', async () => {
      const { operator, pool, schema } = await given()
      expect(await operator.schema()).toMatchObject({ missing: [], newer: [] })
      await pool.query(`update ${schema}.migration set version = 9999 where name = 'dead-letters'`)
      expect(await operator.schema()).toMatchObject({
        missing: [{ name: 'dead-letters' }],
        newer: [{ version: 9999 }],
      })
      const nowhere = postgresOperatorStore(pool, { schema: 'nowhere' })
      expect((await nowhere.schema()).applied).toEqual([])
      expect(await nowhere.outbox()).toBeUndefined()
    })
  },
  { newestIn: 'full' },
)
