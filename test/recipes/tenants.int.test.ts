import pg from 'pg'
import { afterAll, beforeAll, expect, it } from 'vitest'
import type { Delivery, Middleware, Transactional } from '../../src/core/delivery.ts'
import { headersFrom, headerText } from '../../src/core/message.ts'
import { pipeline } from '../../src/core/pipeline.ts'
import { idempotency } from '../../src/idempotency/idempotency.ts'
import { migrate, postgresIdempotencyStore, transaction } from '../../src/stores/postgres/index.ts'
import { describeWith, uniqueName } from '../support/services.ts'
import { createTestPool, type TestPool } from '../support/test-pool.ts'

describeWith(['postgres'], 'the recipe of row-level security', () => {
  const app = uniqueName('app')
  let db: TestPool
  let pool: pg.Pool
  beforeAll(async () => {
    db = await createTestPool()
    const { schema } = db
    await migrate(db.pool, { schema, features: ['idempotency'] })
    await db.pool.query(`
      create role ${app} login;
      grant usage on schema ${schema} to ${app};
      create table ${schema}.orders (id text, tenant text, paid boolean not null default false);
      insert into ${schema}.orders values ('1', 'a'), ('2', 'a'), ('3', 'b');
      alter table ${schema}.orders enable row level security;
      create policy tenant_rows on ${schema}.orders to ${app}
        using (tenant = nullif(current_setting('app.tenant', true), ''))
        with check (tenant = nullif(current_setting('app.tenant', true), ''));
      grant select, insert, update on ${schema}.orders to ${app};
      grant select, insert, update, delete on ${schema}.idempotency to ${app};
      grant usage on sequence ${schema}.fence to ${app};`)
    const address = new URL(db.url)
    address.username = app
    // One connection: what a transaction left behind would be seen by the next one.
    pool = new pg.Pool({ connectionString: address.href, max: 1, options: `-c search_path=${schema}` })
  })
  afterAll(async () => {
    await pool.end()
    await db.pool.query(`drop owned by ${app}; drop role ${app}`)
    await db.dispose()
  })

  const tenantOf = ({ message }: Delivery): string => headerText(message.headers, 'tenant') ?? ''
  const asTenant: Middleware<unknown, Delivery & Transactional<pg.PoolClient>> = (next) =>
    async function asTenant(delivery) {
      await delivery.tx.query(`select set_config('app.tenant', $1, true)`, [tenantOf(delivery)])
      return next(delivery)
    }

  /** Handles one message of a tenant with one statement, through the claims in the same restricted role. */
  async function handled(id: string, tenant: string, sql: string): Promise<readonly unknown[]> {
    let rows: readonly unknown[] = []
    const orders = pipeline('orders')
      .use(
        idempotency({
          store: postgresIdempotencyStore(db.pool, { schema: db.schema }),
          scope: (delivery) => `orders of ${tenantOf(delivery)}`,
        }),
      )
      .use(transaction<pg.PoolClient>(pool))
      .use(asTenant)
      .handle(async ({ tx }) => {
        rows = (await tx.query(sql)).rows
      })
    const headers = tenant === '' ? headersFrom([]) : headersFrom([['tenant', tenant]])
    await orders.dispatch({ message: { id, body: null, headers } })
    return rows
  }

  it('a handler without a condition sees and changes its own tenant alone, also after another on the same connection', async () => {
    expect(await handled('m1', 'a', 'update orders set paid = true returning id')).toHaveLength(2)
    expect(await handled('m2', 'b', 'select id from orders')).toEqual([{ id: '3' }])
    expect(await handled('m3', '', 'select id from orders')).toEqual([])
    // Equal ids of two tenants are two messages.
    expect(await handled('m1', 'b', 'select id from orders')).toEqual([{ id: '3' }])
    const { rows } = await pool.query(`select current_setting('app.tenant', true) as tenant`)
    expect(rows).toEqual([{ tenant: '' }])
  })

  it('a write for another tenant is refused and rolled back with everything else', async () => {
    await expect(handled('m4', 'a', "insert into orders values ('4', 'a'), ('5', 'b')")).rejects.toThrow(
      /row-level security/,
    )
    const { rows } = await db.pool.query(`select count(*)::int as n from ${db.schema}.orders`)
    expect(rows).toEqual([{ n: 3 }])
  })
})
