import { setTimeout as sleep } from 'node:timers/promises'
import { pulsarPublisher } from 'holdfast/pulsar'
import { expect, it } from 'vitest'
import { outboxRelay } from '../../../src/outbox/relay.ts'
import { postgresOutboxStore } from '../../../src/stores/postgres/index.ts'
import { outboxDatabase } from '../../outbox/support.ts'
import { faultProxy } from '../../support/fault-proxy.ts'
import { describeWith, postgresUrl, pulsarUrl, uniqueName } from '../../support/services.ts'
import { describeFull, isFull } from '../../support/skipped.ts'
import { until } from '../rabbitmq/support.ts'
import { arrivedAt, clientThrough } from './support.ts'

const count = 3000
const keys = 50

if (isFull)
  describeWith(['pulsar', 'postgres'], 'the outbox relay to Pulsar', () => {
    it.each([
      ['by the numbers of its process', false],
      ['by the numbers of the outbox', true],
    ])(
      'publishes everything once, each key in order, over connections that are cut every 40 to 200 ms: %s',
      async (_, sequences) => {
        const topic = uniqueName('topic')
        const db = await outboxDatabase(postgresUrl())
        const proxy = await faultProxy(pulsarUrl())
        const stop = new AbortController()
        const client = clientThrough(proxy)
        try {
          await db.pool.query(
            `insert into outbox (topic, key, type, message_id, payload)
           select $1, 'k' || n % ${keys}, 't', n::text, convert_to(repeat('x', 100), 'utf8')
           from generate_series(1, ${count}) n`,
            [topic],
          )
          const publisher = pulsarPublisher(client, { timeoutMs: 5000 })
          const store = postgresOutboxStore(db.pool, { schema: db.schema, sequences })
          const running = outboxRelay({ store, publisher, leaseMs: 10_000, batchRows: 100 }).run(stop.signal)
          const cutting = (async () => {
            while (!stop.signal.aborted) {
              await sleep(40 + Math.random() * 160)
              proxy.cut()
            }
          })()
          const pending = async (): Promise<number> => (await db.pool.query('select from outbox')).rowCount ?? 0
          await until('all have left', async () => (await pending()) === 0, 200_000)
          stop.abort()
          await Promise.all([running, cutting])
          expect(proxy.counts.cut).toBeGreaterThan(5)
          const arrived = (await arrivedAt(topic)).map(({ id }) => Number(id))
          expect(new Set(arrived).size).toBe(count)
          // The broker drops what it has: one name for each producer, of one process or of a shard.
          expect(arrived).toHaveLength(count)
          for (let key = 0; key < keys; key++) {
            const mine = arrived.filter((id) => id % keys === key)
            expect(mine).toEqual(mine.toSorted((a, b) => a - b))
          }
        } finally {
          stop.abort()
          client.close()
          await db.dispose()
          await proxy.dispose()
        }
      },
      300_000,
    )
  })

// A file needs a suite, also where its server is not there.
if (!isFull) describeFull('Pulsar, the outbox relay', () => it('needs the full run', () => expect(isFull).toBe(true)))
