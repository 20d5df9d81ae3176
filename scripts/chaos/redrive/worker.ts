/** One process of the ledger: a service whose handler commits one effect for each message, and a redrive worker. */
import pg from 'pg'
import { deadLetter } from '../../../src/dead-letter/dead-letter.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import { json } from '../../../src/codecs/json.ts'
import { PermanentError } from '../../../src/core/errors.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { redriveWorker } from '../../../src/dead-letter/index.ts'
import { retry } from '../../../src/retry/retry.ts'
import {
  migrate,
  postgresDeadLetters,
  postgresIdempotencyStore,
  transaction,
} from '../../../src/stores/postgres/index.ts'

const [url = '', schema = '', leaseMs = '1500'] = process.argv.slice(2)
const open = (max: number) => {
  const pool = new pg.Pool({ connectionString: url, max })
  pool.on('error', () => {})
  return pool
}
const [work, claims, letterPool] = [open(6), open(2), open(4)]
const letters = postgresDeadLetters(letterPool, { schema })
const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms))
const anything = { '~standard': { version: 1 as const, vendor: 'ledger', validate: (value: unknown) => ({ value }) } }

const billing = pipeline('billing')
  .use(deadLetter({ to: letters }))
  .decode(json(anything))
  .use(idempotency({ store: postgresIdempotencyStore(claims, { schema }), leaseMs: Number(leaseMs) }))
  .use(retry({ maxAttempts: 2, backoff: { initialMs: 1, maxMs: 2 } }))
  .use(transaction(work))
  .handle(async ({ message, tx }) => {
    const body = message.body as { readonly n: number; readonly poison?: boolean }
    await pause(Math.random() * 12)
    if (body.poison === true) throw new PermanentError(`order ${body.n} is poison`)
    if (Math.random() < 0.15) throw new Error(`flaky ${body.n}`)
    await tx.query(`insert into ${schema}.effect (id, key, n) values ($1, $2, $3)`, [message.id, message.key, body.n])
    await pause(Math.random() * 6)
  })

await migrate(letterPool, { schema })
const stop = new AbortController()
process.on('SIGTERM', () => stop.abort())
// The broker brings originals again at any time: beside the redrive of the same letter.
const redelivering = (async () => {
  while (!stop.signal.aborted) {
    const { letters: some } = await letters
      .list({}, { limit: 5, order: Math.random() < 0.5 ? 'oldest' : 'newest' })
      .catch(() => ({ letters: [] }))
    for (const { id } of some) {
      const letter = await letters.letter(id).catch(() => undefined)
      if (letter === undefined) continue
      const { messageId, key, type, body, origin } = letter
      await billing.dispatch({ message: { id: messageId, key, type, body }, origin }).catch(() => undefined)
    }
    await pause(30)
  }
})()
await redriveWorker({ store: letters, pipelines: [billing], concurrency: 4, leaseMs: Number(leaseMs), pollMs: 50 }).run(
  stop.signal,
)
await redelivering
await Promise.all([work, claims, letterPool].map((pool) => pool.end()))
