// One consumer in a process of its own: orders on its standard input, answers on its standard output.
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import pg from 'pg'
import { RetryLater } from '../../../src/core/errors.ts'
import type { Claimed, Delivery } from '../../../src/core/delivery.ts'
import type { Bytes } from '../../../src/core/message.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import { deadLetter } from '../../../src/dead-letter/dead-letter.ts'
import { idempotency } from '../../../src/idempotency/idempotency.ts'
import type { TransactionalIdempotencyStore } from '../../../src/idempotency/store.ts'
import { retry } from '../../../src/retry/retry.ts'
import { inOneTransaction, postgresIdempotencyStore, transaction } from '../../../src/stores/postgres/index.ts'
import {
  isFlaky,
  isPoison,
  isSlow,
  type InsideAnswer,
  type InsideOrder,
  type InsideWorkerSettings,
} from './settings.ts'

const settings = JSON.parse(process.argv[2] ?? '{}') as InsideWorkerSettings
const { url, schema, leaseMs, mode, isolation, broken, pooled } = settings
// A pooler does not take start-up options: there the isolation is the server's.
const options =
  pooled === true ? undefined : `-c default_transaction_isolation=${isolation.replace(' ', String.raw`\ `)}`
const config = { connectionString: url, ...(options !== undefined && { options }) }
const work = new pg.Pool({ ...config, max: 12 })
const claims = new pg.Pool({ ...config, max: 4 })
for (const pool of [work, claims]) pool.on('error', () => {})

const sound = postgresIdempotencyStore(claims, { schema, inside: true })
const store: TransactionalIdempotencyStore = broken === 'ignores-known' ? ignoringKnown(sound) : sound

/** Goes on with a key that somebody else has claimed. */
function ignoringKnown(store: TransactionalIdempotencyStore): TransactionalIdempotencyStore {
  const { claimIn } = store
  if (claimIn === undefined) throw new Error('the store claims nothing inside')
  return {
    ...store,
    async claimIn(tx, request) {
      const answer = await claimIn(tx, request)
      return answer === 'known' ? 1n : answer
    },
  }
}

const effect = `insert into ${schema}.effects (id) values ($1)`
const dead = `insert into ${schema}.dead (id) values ($1)`

async function handle(ids: readonly string[], tx: pg.PoolClient): Promise<void> {
  for (const id of ids) await tx.query(effect, [id])
  await sleep(ids.some(isSlow) ? 150 + Math.random() * 250 : Math.random() * 6)
  for (const id of ids) {
    if (isPoison(id)) throw new Error('poison')
    if (isFlaky(id) && Math.random() < 0.6) throw new Error('flaky')
    if (Math.random() < 0.01) throw new RetryLater(5)
  }
}

const deadLetters = {
  async publish(messages: readonly { readonly id: string }[]): Promise<void> {
    for (const { id } of messages) await claims.query(dead, [id])
  },
}
const stack = pipeline('chaos')
  .use(deadLetter({ to: deadLetters }))
  .use(idempotency({ store, claim: 'inside', leaseMs, retainMs: 3_600_000 }))
  .use(retry({ maxAttempts: 8, backoff: { initialMs: 3, maxMs: 5 } }))
const orders =
  mode === 'batch'
    ? stack.handleBatch(
        { maxSize: 8, maxWaitMs: 3 },
        inOneTransaction<pg.PoolClient, Delivery<Bytes> & Claimed>(transaction(work), (batch, tx) =>
          handle(
            batch.map(({ message }) => message.id),
            tx,
          ),
        ),
      )
    : stack.use(transaction<pg.PoolClient>(work)).handle(({ message, tx }) => handle([message.id], tx))

const answer = (told: InsideAnswer): void => void process.stdout.write(`${JSON.stringify(told)}\n`)
createInterface(process.stdin).on('line', (line) => {
  const { n, id, first } = JSON.parse(line) as InsideOrder
  orders.dispatch({ message: { id, body: Buffer.from('x') }, first }).then(
    (outcome) => answer({ n, ack: outcome }),
    (error: unknown) => answer({ n, nack: error instanceof Error ? error.message : String(error) }),
  )
})
process.stdin.on('end', () => process.exit(0))
console.log('ready')
