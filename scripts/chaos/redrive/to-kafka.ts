import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { Kafka, logLevel } from 'kafkajs'
import pg from 'pg'
import { redriveHeader } from '../../../src/core/redrive.ts'
import { migrate, postgresDeadLetters } from '../../../src/stores/postgres/index.ts'
import { createTopic, readTopic } from '../kafka/topics.ts'
import { Workers } from './workers.ts'

export interface ToKafkaOptions {
  readonly url: string
  readonly brokers: string
  readonly total: number
  readonly kills: number
  readonly signal?: AbortSignal
}

export interface ToKafka {
  readonly letters: number
  readonly arrived: number
  /** Letters that the redrive left out. */
  readonly skipped: number
  /** Sent again after a kill, under the same id and generation: the claim folds them. */
  readonly repeated: number
  /** Letters that were sent with two generations: they would run twice. */
  readonly regenerated: number
  readonly outOfOrder: number
  readonly kills: number
  readonly seconds: number
  readonly createMs: number
}

const leaseMs = 3000
// A slow machine sends a hundred letters a second.
const longestMs = (total: number): number => 60_000 + total * 10

/** Publishes letters to their topic by two processes that are killed, and reads what arrived. */
export async function redriveToKafka({ url, brokers, total, kills, signal }: ToKafkaOptions): Promise<ToKafka> {
  const name = `redrive_${Date.now().toString(36)}`
  const pool = new pg.Pool({ connectionString: url, max: 4 })
  pool.on('error', () => {})
  const kafka = new Kafka({ brokers: brokers.split(','), logLevel: logLevel.NOTHING })
  const admin = kafka.admin()
  await admin.connect()
  const args = [join(import.meta.dirname, 'publishing-worker.ts'), url, brokers, name, String(leaseMs)]
  const running = new Workers(args, { kills, pauses: 0 }, leaseMs * 2)
  try {
    await createTopic(admin, name, 4)
    await fill(pool, name, total)
    const letters = postgresDeadLetters(pool, { schema: name })
    const from = performance.now()
    const made = await letters.create({}, { route: 'destination' }, 'ledger')
    const createMs = performance.now() - from
    const until = Date.now() + longestMs(total)
    while ((await letters.active()).length > 0 && Date.now() < until && signal?.aborted !== true) {
      running.trouble()
      running.fill(2)
      await sleep(100)
    }
    const seconds = (performance.now() - from) / 1000
    await running.stop()
    const results = (await letters.redrive(made?.id ?? ''))?.results ?? {}
    const read = await readTopic(kafka, name)
    const skipped = total - (results.sent ?? 0)
    return { letters: total, skipped, kills: running.kills, seconds, createMs, ...judged(read) }
  } finally {
    await running.stop()
    await admin.deleteTopics({ topics: [name] }).catch(() => undefined)
    await admin.disconnect()
    await pool.query(`drop schema if exists ${name} cascade`)
    await pool.end()
  }
}

/** Five letters for each key, as a table of a service that failed for a while. */
async function fill(pool: pg.Pool, name: string, total: number): Promise<void> {
  await migrate(pool, { schema: name })
  await pool.query(
    `insert into ${name}.dead_letter (fold, pipeline, system, destination, message_id, key, type, produced_ms, body, reason,
  error_name, error_message, fingerprint, attempts)
select md5(n::text)::uuid, 'billing', 'kafka', $1, 'm' || n, 'k' || n % $2::int, 't', 0,
  convert_to(repeat(md5(n::text), 10), 'UTF8'), 'attempts', 'Error', 'e', 'f', 5 from generate_series(1, $3::int) n`,
    [name, Math.ceil(total / 5), total],
  )
  await pool.query(`analyze ${name}.dead_letter`)
}

function judged(read: Awaited<ReturnType<typeof readTopic>>) {
  const generations = new Map<string, string>()
  const lastOfKey = new Map<string, number>()
  let [repeated, regenerated, outOfOrder] = [0, 0, 0]
  for (const { message } of read) {
    const id = String(message.headers?.['message-id'])
    const generation = String(message.headers?.[redriveHeader])
    const known = generations.get(id)
    if (known !== undefined) {
      if (known === generation) repeated++
      else regenerated++
      continue
    }
    generations.set(id, generation)
    const [key, n] = [String(message.key), Number(id.slice(1))]
    if ((lastOfKey.get(key) ?? 0) > n) outOfOrder++
    lastOfKey.set(key, n)
  }
  return { arrived: generations.size, repeated, regenerated, outOfOrder }
}
