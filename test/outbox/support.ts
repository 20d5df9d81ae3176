import pg from 'pg'
import { isPublishError } from '../../src/core/errors.ts'
import { outgoing, type Outgoing, type Publisher } from '../../src/core/publisher.ts'
import { headerText } from '../../src/core/message.ts'
import type { AddOptions, Outbox, OutboxMessage } from '../../src/outbox/outbox.ts'
import { migrate } from '../../src/stores/postgres/migrate.ts'
import { outboxStatements, type OutboxStatements } from '../../src/stores/postgres/outbox/statements.ts'
import type { QueryRunner } from '../../src/stores/postgres/outbox/via.ts'
import { createTestPool } from '../support/test-pool.ts'
import { describeWith, postgres18Url, postgresUrl } from '../support/services.ts'

export interface OutboxDatabase {
  readonly url: string
  readonly schema: string
  readonly pool: pg.Pool
  readonly statements: OutboxStatements
  /** A connection of its own, closed by `dispose`. */
  connect(): Promise<pg.Client>
  dispose(): Promise<void>
}

/** A schema of its own with an outbox, and a pool. */
export async function outboxDatabase(url: string, options: pg.PoolConfig = {}): Promise<OutboxDatabase> {
  const { pool, schema, dispose } = await createTestPool({ connectionString: url, max: 12, ...options })
  await migrate(pool, { schema })
  const clients: pg.Client[] = []
  return {
    url,
    schema,
    pool,
    statements: outboxStatements(`"${schema}"`),
    async connect() {
      const client = new pg.Client({ connectionString: url, options: `-c search_path=${schema},public` })
      client.on('error', () => {})
      await client.connect()
      clients.push(client)
      return client
    },
    async dispose() {
      await Promise.all(clients.map((client) => client.end().catch(() => {})))
      await dispose()
    },
  }
}

/** The same suite against the oldest and the newest PostgreSQL that is supported. */
export function describeOnBoth(title: string, body: (url: () => string) => void): void {
  describeWith(['postgres'], `${title}, PostgreSQL 15`, () => body(postgresUrl))
  describeWith(['postgres18'], `${title}, PostgreSQL 18`, () => body(postgres18Url))
}

/** Lets a test say through `outbox_slot()` which partition takes new rows; by itself the table does not ask it. */
export async function slotsByFunction({ pool, schema }: Pick<OutboxDatabase, 'pool' | 'schema'>): Promise<void> {
  await pool.query(`alter table ${schema}.outbox alter column slot set default ${schema}.outbox_slot()`)
}

/** Makes the partitions take turns every second. */
export async function fastSlots({ pool, schema }: Pick<OutboxDatabase, 'pool' | 'schema'>): Promise<void> {
  await slotsByFunction({ pool, schema })
  await pool.query(`create or replace function ${schema}.outbox_slot() returns smallint language sql stable as
    'select (date_part(''epoch'', now())::bigint % 3)::smallint'`)
}

/** Adds messages in a transaction of their own. */
export async function addCommitted(
  outbox: Outbox<QueryRunner>,
  pool: pg.Pool,
  messages: OutboxMessage | readonly OutboxMessage[],
  options?: AddOptions,
): Promise<readonly string[]> {
  const client = await pool.connect()
  try {
    await client.query('begin')
    const ids = await outbox.add(client, messages, options)
    await client.query('commit')
    return ids
  } catch (error) {
    await client.query('rollback')
    throw error
  } finally {
    client.release()
  }
}

export interface Target extends Publisher {
  /** What arrived, in order. */
  readonly published: Outgoing[]
  ids(): string[]
}

/** Confirms everything, unless told otherwise. */
export function target(refuse: (messages: readonly Outgoing[]) => Promise<void> | void = () => {}): Target {
  const published: Outgoing[] = []
  return {
    published,
    ids: () => published.map(({ id }) => id),
    async publish(messages) {
      try {
        await refuse(messages)
      } catch (error) {
        // What a PublishError does not name was sent.
        const failed = isPublishError(error) ? new Set(error.failures.map(({ index }) => index)) : null
        if (failed !== null) published.push(...messages.filter((_, index) => !failed.has(index)))
        throw error
      }
      published.push(...messages)
    },
  }
}

export function message(id: string, key: string | null = null): Outgoing {
  return outgoing({ id, destination: 'orders', key, body: Buffer.from(id) })
}

/** The number within a position that `outbox-id` carries. */
export function outboxId({ headers }: Outgoing): bigint {
  return BigInt(headerText(headers, 'outbox-id')?.split('/')[2] ?? -1)
}

export async function until(
  condition: () => boolean | Promise<boolean>,
  what: string,
  withinMs = 20_000,
): Promise<void> {
  const end = Date.now() + withinMs
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`${what}: not within ${withinMs} ms`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

export const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))
