import { execFileSync } from 'node:child_process'
import { EventEmitter } from 'node:events'
import { mkdtempSync, readFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createServer as createPlainServer, type AddressInfo, type Server } from 'node:net'
import { createServer, TLSSocket } from 'node:tls'
import pg from 'pg'
import { afterEach, expect, it } from 'vitest'
import { certificateEnd } from '../../src/cli/certificate.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { memoryIdempotencyStore } from '../../src/idempotency/memory-store.ts'
import {
  certificateCheck,
  clientChecks,
  destinationCheck,
  examine,
  pipelineChecks,
  poolCheck,
  redisCheck,
  type Check,
} from '../../src/operations/index.ts'
import { postgresChecks, transaction } from '../../src/stores/postgres/index.ts'
import { describeWith, postgresUrl } from '../support/services.ts'
import { havePgbouncer, pgbouncer } from '../support/pgbouncer.ts'
import { describeUnless } from '../support/skipped.ts'
import { service } from '../stores/postgres/dead-letter-support.ts'

type Service = Awaited<ReturnType<typeof service>>
const open: Service[] = []
const ends: (() => unknown)[] = []
async function given(): Promise<Service> {
  const made = await service()
  open.push(made)
  return made
}
afterEach(async () => {
  for (const end of ends.splice(0)) await end()
  for (const each of open.splice(0)) await each.dispose()
})

const found = async (...checks: readonly Check[]) => (await examine(checks)).findings
const named = (checks: readonly Check[], name: string) => checks.filter((check) => check.name === name)

describeWith(['postgres'], 'what doctor looks at in PostgreSQL', () => {
  // A publication reaches every table of its database, so each has a database of its own.
  it.each([
    ['of the table', (schema: string) => `for table ${schema}.plain`],
    ['of all tables', () => 'for all tables'],
    ['of all tables in the schema', (schema: string) => `for tables in schema ${schema}`],
    ['of the table that it is a part of', (schema: string) => `for table ${schema}.whole`],
  ])('D-24 finds a table without a replica identity in a publication %s, and mends it', async (_, of) => {
    const { pool: admin, schema } = await given()
    await admin.query(`create database ${schema}`)
    const url = new URL(postgresUrl())
    url.pathname = `/${schema}`
    const pool = new pg.Pool({ connectionString: url.href, max: 3 })
    pool.on('error', () => {})
    ends.push(async () => {
      await pool.end()
      await admin.query(`drop database ${schema} with (force)`)
    })
    await pool.query(`create schema ${schema}; create table ${schema}.whole (n int) partition by range (n);
create table ${schema}.plain partition of ${schema}.whole default; create table ${schema}.keyed (n int primary key);
insert into ${schema}.whole values (1); insert into ${schema}.keyed values (1);
create publication p ${of(schema)} with (publish_via_partition_root = false)`)
    const update = () => pool.query(`update ${schema}.plain set n = 2; update ${schema}.keyed set n = 2`)
    const look = () => found(...named(postgresChecks(pool, { schema }), 'publications'))
    await expect(update()).rejects.toMatchObject({ code: '55000' })
    const findings = await look()
    expect(findings).toMatchObject([
      {
        level: 'problem',
        what: `${schema}.plain is in a publication of updates and has no replica identity: every UPDATE of it fails`,
      },
    ])
    await pool.query(findings[0]?.fix ?? '')
    await update()
    expect(await look()).toEqual([])
    await pool.query(
      `alter table ${schema}.plain replica identity nothing; alter publication p set (publish = 'insert')`,
    )
    expect(await look()).toEqual([])
  })

  it('D-26 looks as far as a role without rights may, and says what it could not see', async () => {
    const { pool, schema } = await given()
    const role = `${schema}_reader`
    await pool.query(`create role ${role} login; grant usage on schema ${schema} to ${role};
grant select on all tables in schema ${schema} to ${role}; drop index ${schema}.dead_letter_reason`)
    const url = new URL(postgresUrl())
    url.username = role
    const theirs = new pg.Pool({ connectionString: url.href, max: 3 })
    ends.push(async () => {
      await theirs.end()
      await pool.query(`drop owned by ${role}; drop role ${role}`)
    })
    const { findings, passed } = await examine(postgresChecks(theirs, { schema }))
    expect(findings.filter(({ check }) => check === 'schema drift')).toMatchObject([
      { level: 'unknown', what: expect.stringContaining('may not create a schema') as string },
      { level: 'problem', what: 'dead_letter_reason is missing' },
    ])
    expect(passed).toEqual(
      expect.arrayContaining(['schema version', 'pooling', 'clock', 'publications', 'outbox shards']),
    )
  })
})

const noPgbouncer = !havePgbouncer() && process.env['CI'] !== 'true' ? 'pgbouncer is not installed' : undefined
describeUnless(noPgbouncer, 'what doctor sees of a pooler', () =>
  describeWith(['postgres'], 'in transaction mode', () => {
    it('tells that backends are lent by transaction', async () => {
      const bouncer = await pgbouncer(postgresUrl())
      const pool = new pg.Pool({ connectionString: bouncer.url, max: 3 })
      ends.push(async () => {
        await pool.end()
        await bouncer.dispose()
      })
      const [finding] = await found(...named(postgresChecks(pool), 'pooling'))
      expect(finding?.what).toContain('a pooler lends backends by transaction')
      const direct = new pg.Pool({ connectionString: postgresUrl(), max: 3 })
      ends.push(() => direct.end())
      expect(await found(...named(postgresChecks(direct), 'pooling'))).toEqual([])
    })
  }),
)

describeWith([], 'what doctor looks at in a service', () => {
  it('finds a pool that nobody hears, and destinations that are missing', async () => {
    const heard = new EventEmitter().on('error', () => {})
    expect(await found(poolCheck('work', new EventEmitter()), poolCheck('claims', heard))).toMatchObject([
      { check: 'pool work', level: 'problem' },
    ])
    const exists = (name: string) => Promise.resolve(name === 'orders.dead-letters')
    expect(await found(destinationCheck(['orders.dead-letters', 'mail.dead-letters'], exists))).toMatchObject([
      { what: expect.stringContaining('mail.dead-letters is missing') as string },
    ])
  })

  it('compares pools with the concurrency, and what is remembered with how long a message can come again', async () => {
    const orders = pipeline('orders')
      .use(idempotency({ store: memoryIdempotencyStore(), retainMs: 3_600_000 }))
      .use(transaction(new pg.Pool({ max: 4 })))
      .handle(() => {})
    const what = async (around: Parameters<typeof pipelineChecks>[1]) =>
      (await found(...pipelineChecks([orders], around)))
        .filter(({ level }) => level === 'problem')
        .map((each) => each.what)
    const before = await what({})
    expect(before).toEqual([expect.stringContaining('no dead letter')])
    expect(await what({ concurrency: 4, redeliveryHorizonMs: 3_600_000 })).toEqual(before)
    expect(await what({ concurrency: 5, redeliveryHorizonMs: 7 * 86_400_000 })).toEqual([
      ...before,
      expect.stringContaining('remembers keys for 1 h, and the broker can bring a message again for 168 h'),
      expect.stringContaining('has 4 connections for 5 handlers'),
    ])
  })

  it('finds a Redis that evicts, clients with known faults, and two instrumentations at once', async () => {
    const redis = (info: string) => redisCheck({ info: () => Promise.resolve(info) })
    expect(await found(redis('maxmemory:100\r\nmaxmemory_policy:noeviction\r\n'))).toEqual([])
    expect(await found(redis('maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\n'))).toEqual([])
    const [evicts] = await found(redis('maxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\n'))
    expect(evicts).toMatchObject({ level: 'problem', fix: 'CONFIG SET maxmemory-policy noeviction' })
    const installed = (versions: Readonly<Record<string, string>>) => found(...clientChecks((name) => versions[name]))
    expect(await installed({ pg: '8.11.0', kafkajs: '2.2.4' })).toEqual([])
    expect(await installed({ pg: '8.10.9' })).toMatchObject([{ fix: 'npm install pg@^8.11.0' }])
    const both = { '@opentelemetry/instrumentation-kafkajs': '0.1.0', 'opentelemetry-instrumentation-kafkajs': '0.2.0' }
    expect(await installed(both)).toMatchObject([{ check: 'double instrumentation' }])
  })

  it('reads when a certificate ends, from TLS and from PostgreSQL, which is asked for TLS first', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'holdfast-tls-'))
    const [key, cert] = [join(dir, 'key'), join(dir, 'cert')]
    const args = [
      'req',
      '-x509',
      '-newkey',
      'rsa:2048',
      '-nodes',
      '-days',
      '5',
      '-subj',
      '/CN=localhost',
      '-keyout',
      key,
      '-out',
      cert,
    ]
    execFileSync('openssl', args, { stdio: 'ignore' })
    const pair = { key: readFileSync(key), cert: readFileSync(cert) }
    const listening = async (server: Server) => {
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      ends.push(() => server.close())
      return `127.0.0.1:${(server.address() as AddressInfo).port}`
    }
    const plain = await listening(createServer(pair))
    const asPostgres = await listening(
      createPlainServer((socket) => {
        socket.on('error', () => {})
        socket.once('data', (asked) => {
          if (asked.readInt32BE(4) !== 80_877_103) return socket.destroy()
          socket.write('S')
          new TLSSocket(socket, { isServer: true, ...pair }).on('error', () => {})
        })
      }),
    )
    const look = (server: string, nowMs: number) => found(certificateCheck(server, certificateEnd, () => nowMs))
    for (const server of [plain, `postgres://${asPostgres}`]) {
      expect(await look(server, Date.now())).toMatchObject([
        { level: 'warning', what: expect.stringMatching(/it ends in [45] days/) as string },
      ])
      expect(await look(server, Date.now() + 6 * 86_400_000)).toMatchObject([{ level: 'problem' }])
      expect(await look(server, Date.now() - 60 * 86_400_000)).toEqual([])
    }
    expect(await look(`postgres://${plain}`, Date.now())).toMatchObject([{ level: 'unknown' }])
    expect(await look('127.0.0.1:1', Date.now())).toMatchObject([{ level: 'unknown' }])
  })
})
