import { beforeAll } from 'vitest'
import { deadLetter } from '../../../src/dead-letter/dead-letter.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { PermanentError } from '../../../src/core/errors.ts'
import { headersFrom, type Bytes, type Headers } from '../../../src/core/message.ts'
import { pipeline, type Pipeline } from '../../../src/core/pipeline.ts'
import { redriveHeader, redriveText } from '../../../src/core/redrive.ts'
import { redriveWorker, type RedriveWorkerOptions } from '../../../src/dead-letter/redrive-worker.ts'
import type { Delivery } from '../../../src/core/delivery.ts'
import { migrate, postgresDeadLetters, postgresIdempotencyStore } from '../../../src/stores/postgres/index.ts'
import type { PostgresDeadLettersOptions } from '../../../src/stores/postgres/index.ts'
import { describeWith, postgres18Url, postgresUrl } from '../../support/services.ts'
import { describeFull, isFull } from '../../support/skipped.ts'
import { createTestPool } from '../../support/test-pool.ts'

let server = postgresUrl

/**
 * The same suite on the oldest and the newest PostgreSQL that is supported: `service()` is on the one whose suite runs. With
 * `newestIn: 'full'` the newest one waits for the full run.
 */
export function describeOnBothServers(
  title: string,
  body: () => void,
  { newestIn = 'every' }: { readonly newestIn?: 'every' | 'full' } = {},
): void {
  const on = (url: () => string) => () => {
    beforeAll(() => void (server = url))
    body()
  }
  describeWith(['postgres'], `${title}, PostgreSQL 15`, on(postgresUrl))
  const newest = `${title}, PostgreSQL 18`
  if (newestIn === 'full' && !isFull) describeFull(newest, on(postgres18Url))
  else describeWith(['postgres18'], newest, on(postgres18Url))
}

/** A service with a bug, its dead letters in a table, and a redrive worker to run. */
export async function service(options: Partial<PostgresDeadLettersOptions> = {}) {
  const { pool, schema, dispose } = await createTestPool({ connectionString: server() })
  await migrate(pool, { schema })
  const letters = postgresDeadLetters(pool, { schema, ...options })
  const store = postgresIdempotencyStore(pool, { schema })
  const state = {
    broken: true,
    ran: [] as string[],
    handle: (_: Delivery<Bytes>): Promise<void> | void => {
      if (state.broken) throw new PermanentError('a bug')
    },
  }
  const made = (name: string): Pipeline =>
    pipeline(name)
      .use(deadLetter({ to: letters }))
      .use(idempotency({ store }))
      .handle(async (delivery) => {
        await state.handle(delivery)
        state.ran.push(delivery.message.id)
      })
  const billing = made('billing')
  const send = (
    id: string,
    { key = null, body = '{}', generation = 0, headers = headersFrom([]), to = billing }: Sending = {},
  ) =>
    to.dispatch({
      message: {
        id,
        key,
        body: body === null ? null : Buffer.from(body),
        headers:
          generation === 0
            ? headers
            : headersFrom([[redriveHeader, redriveText({ generation, destination: 'orders' })]]),
      },
      origin: { system: 'kafka', destination: 'orders', partition: '0', position: '1', group: 'g' },
    })
  /** Runs one worker until nothing is running any more. */
  async function work(more: Partial<RedriveWorkerOptions> = {}): Promise<void> {
    const stop = new AbortController()
    const running = redriveWorker({ store: letters, pipelines: [billing], pollMs: 20, ...more }).run(stop.signal)
    while ((await letters.active()).length > 0) await new Promise((resolve) => setTimeout(resolve, 20))
    stop.abort()
    await running
  }
  const rows = async (columns = '*', rest = 'order by id') =>
    (await pool.query<Record<string, unknown>>(`select ${columns} from ${schema}.dead_letter ${rest}`)).rows
  return { pool, schema, dispose, letters, store, state, billing, made, send, work, rows }
}

export interface Sending {
  readonly key?: string | null
  readonly body?: string | null
  readonly generation?: number
  readonly headers?: Headers
  readonly to?: Pipeline
}
