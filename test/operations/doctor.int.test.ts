import { afterEach, expect, it } from 'vitest'
import { examine, type Finding } from '../../src/operations/index.ts'
import { postgresChecks, postgresOutbox } from '../../src/stores/postgres/index.ts'
import { describeOnBothServers, service } from '../stores/postgres/dead-letter-support.ts'

type Service = Awaited<ReturnType<typeof service>>
const open: Service[] = []
async function given() {
  const made = await service()
  open.push(made)
  const look = async (): Promise<readonly Finding[]> => {
    const { findings } = await examine(postgresChecks(made.pool, { schema: made.schema }))
    // Servers are shared: what others keep open is theirs.
    return findings.filter(({ check, what }) => check !== 'what holds clean-up back' || what.includes(made.schema))
  }
  return { ...made, look }
}
afterEach(async () => {
  for (const each of open.splice(0)) await each.dispose()
})

describeOnBothServers('doctor', () => {
  it('finds nothing in a schema that was just made', async () => {
    const { look } = await given()
    expect(await look()).toEqual([])
  })

  it('finds each planted difference of the schema, with SQL that mends it', async () => {
    const { look, pool, schema } = await given()
    await pool.query(`drop index ${schema}.dead_letter_message; alter table ${schema}.idempotency reset (fillfactor);
alter table ${schema}.idempotency alter column attempts type bigint;
alter table ${schema}.idempotency drop constraint idempotency_state_check; alter sequence ${schema}.fence cache 20;
create index stray on ${schema}.idempotency (owner);
create or replace function ${schema}.outbox_version() returns int language sql immutable as 'select 99'`)
    await pool.query(
      `update pg_index set indisvalid = false where indexrelid = '${schema}.dead_letter_trace'::regclass`,
    )
    const found = (await look()).filter(({ check }) => check === 'schema drift')
    const about = (what: string) => found.find((each) => each.what.includes(what))
    expect(about('index dead_letter_message is missing')?.fix).toContain('CREATE INDEX CONCURRENTLY')
    expect(about('table idempotency is')).toBeDefined()
    expect(about('column idempotency.attempts')).toBeDefined()
    expect(about('constraint idempotency.idempotency_state_check is missing')?.fix).toContain('not valid')
    expect(about('sequence fence')?.fix).toContain('alter sequence')
    expect(about('index stray is not ours')).toBeDefined()
    expect(about('function outbox_version')?.fix).toMatch(/create or replace/i)
    expect(about('index dead_letter_trace is invalid')?.fix).toContain('drop index concurrently')
    expect(found).toHaveLength(8)
    for (const { fix } of found.filter((each) => each.fix?.endsWith(';') === true && !/CONCURRENTLY/i.test(each.fix)))
      await pool.query(fix ?? '')
    expect((await look()).length).toBeLessThan(8)
  })

  it('finds letters, redrives and keys that nobody works on', async () => {
    const { look, pool, schema, send, letters, store } = await given()
    for (const id of ['m1', 'm2', 'm3']) await send(id)
    await letters.create({ messageId: 'm1' }, {}, 'ana')
    await store.claim({ scope: 's', key: 'gone', owner: 'o', leaseMs: 1000, fingerprint: null })
    await pool.query(`update ${schema}.redrive set created_at = now() - interval '1 h';
update ${schema}.dead_letter set state = 'redriving', changed_at = now() - interval '2 h' where message_id = 'm2';
delete from ${schema}.idempotency where key = 'm3';
update ${schema}.idempotency set lease_until = now() - interval '1 h' where key = 'gone';
update ${schema}.outbox_shard set owner = 'dead', lease_until = now() - interval '1 h' where shard = 0;
delete from ${schema}.migration where name = 'redrive'; insert into ${schema}.migration (version, name) values (9999, 'later')`)
    expect((await look()).map(({ check }) => check)).toEqual([
      'schema version',
      'schema version',
      'letters whose key is forgotten',
      'letters without a result',
      'redrives without a worker',
      'outbox shards',
      'keys without a holder',
    ])
  })

  it('finds messages in an outbox that no relay ever held', async () => {
    const { look, pool, schema } = await given()
    const client = await pool.connect()
    await client.query('begin')
    await postgresOutbox({ schema }).add(client, { destination: 'orders', body: null })
    await client.query('commit')
    client.release()
    expect(await look()).toMatchObject([{ check: 'outbox shards', what: '4 shards of the outbox have no relay' }])
  })

  it('says what it could not look at, and goes on', async () => {
    const { findings, passed } = await examine([
      { name: 'broken', run: () => Promise.reject(new Error('no rights')) },
      { name: 'fine', run: () => Promise.resolve([]) },
    ])
    expect(findings).toEqual([{ check: 'broken', level: 'unknown', what: 'could not look: no rights', fix: null }])
    expect(passed).toEqual(['fine'])
  })
})
