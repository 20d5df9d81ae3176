import { setTimeout as sleep } from 'node:timers/promises'
import { Logger, makeWorkerUtils, run, runMigrations } from 'graphile-worker'
import { PgBoss } from 'pg-boss'
import { DatabaseSetup, getDisabledLogger, initializePollingMessageListener } from 'pg-transactional-outbox'
import { perSecond, type OutboxServer } from '../areas/outbox-server.ts'
import type { Side } from '../areas/outbox-rounds.ts'

export interface Peer extends Side {
  dispose(): Promise<void>
}

const text = 'x'.repeat(1000)

/** By polling, each message a segment of its own so that a batch runs at once; clean-up and protections off. */
export async function pgTransactionalOutbox({ pool, url }: OutboxServer): Promise<Peer> {
  const rows = 2000
  const at = { outboxOrInbox: 'outbox', database: 'postgres', schema: 'peer', table: 'outbox' } as const
  const setup = { ...at, listenerRole: 'postgres', nextMessagesName: 'next_messages' }
  await pool.query(
    [
      DatabaseSetup.dropAndCreateTable(setup),
      DatabaseSetup.createPollingFunction(setup),
      DatabaseSetup.setupPollingIndexes(setup),
    ].join('\n'),
  )
  return {
    name: 'pg-transactional-outbox, polling, batches of 100',
    async measure() {
      await pool.query('truncate peer.outbox')
      await pool.query(
        `insert into peer.outbox (id, aggregate_type, aggregate_id, message_type, segment, concurrency, payload)
         select gen_random_uuid(), 'order', n::text, 't', 'k' || n % 1000, 'parallel', to_jsonb($2::text)
         from generate_series(1, $1::int) n`,
        [rows, text],
      )
      await pool.query('vacuum analyze peer.outbox')
      const done = Promise.withResolvers<void>()
      let left = rows
      const dbListenerConfig = { connectionString: url, max: 20 }
      const settings = {
        dbSchema: 'peer',
        dbTable: 'outbox',
        nextMessagesFunctionSchema: 'peer',
        nextMessagesFunctionName: 'next_messages',
        nextMessagesBatchSize: 100,
        nextMessagesPollingIntervalInMs: 1,
        enableMaxAttemptsProtection: false,
        enablePoisonousMessageProtection: false,
        messageCleanupIntervalInMs: 0,
      }
      const startedMs = performance.now()
      const [shutdown] = initializePollingMessageListener(
        { outboxOrInbox: 'outbox', dbListenerConfig, settings },
        {
          async handle() {
            if (--left === 0) done.resolve()
          },
        },
        getDisabledLogger(),
        // Its own strategy begins with batches of one, and asks for one more whenever one has ended.
        { batchSizeStrategy: async (running) => (running > 10 ? await sleep(1, 0) : 100) },
      )
      await done.promise
      const rate = perSecond(rows, startedMs)
      await sleep(200)
      await shutdown()
      return rate
    },
    dispose: async () => {},
  }
}

/** As its page on performance says: a local queue, completions in batches, many jobs at once. */
export async function graphileWorker({ pool, url }: OutboxServer): Promise<Peer> {
  const rows = 20_000
  const logger = new Logger(() => () => {})
  const preset = {
    worker: {
      connectionString: url,
      concurrentJobs: 24,
      maxPoolSize: 25,
      localQueue: { size: 500 },
      completeJobBatchDelay: 0,
      failJobBatchDelay: 0,
      logger,
    },
  }
  await runMigrations({ preset })
  const utils = await makeWorkerUtils({ connectionString: url, logger })
  return {
    name: 'graphile-worker, local queue of 500, 24 at once',
    async measure() {
      for (let from = 0; from < rows; from += 1000)
        await utils.addJobs(Array.from({ length: 1000 }, () => ({ identifier: 'publish', payload: { text } })))
      await pool.query('vacuum analyze graphile_worker._private_jobs')
      await pool.query('checkpoint')
      const done = Promise.withResolvers<void>()
      let left = rows
      const startedMs = performance.now()
      const runner = await run({
        preset,
        taskList: {
          async publish() {
            if (--left === 0) done.resolve()
          },
        },
        noHandleSignals: true,
      })
      await done.promise
      const rate = perSecond(rows, startedMs)
      await runner.stop()
      return rate
    },
    dispose: async () => void (await utils.release()),
  }
}

/** Fetched and completed by hand in batches of 500: its workers would wait between batches. */
export async function pgBoss({ pool, url }: OutboxServer): Promise<Peer> {
  const rows = 20_000
  const boss = new PgBoss({ connectionString: url, max: 8, supervise: false, schedule: false })
  boss.on('error', () => {})
  await boss.start()
  await boss.createQueue('publish')
  return {
    name: 'pg-boss, fetch and complete, 500 at a time',
    async measure() {
      for (let from = 0; from < rows; from += 1000)
        await boss.insert(
          'publish',
          Array.from({ length: 1000 }, () => ({ data: { text } })),
        )
      await pool.query('vacuum analyze')
      await pool.query('checkpoint')
      const startedMs = performance.now()
      const loop = async (): Promise<void> => {
        for (;;) {
          const jobs = await boss.fetch('publish', { batchSize: 500 })
          if (jobs.length === 0) return
          await boss.complete(
            'publish',
            jobs.map(({ id }) => id),
          )
        }
      }
      await Promise.all([loop(), loop()])
      return perSecond(rows, startedMs)
    },
    dispose: () => boss.stop({ graceful: false }),
  }
}
