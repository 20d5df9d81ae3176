import { setTimeout as sleep } from 'node:timers/promises'
import { amqpPublisher } from 'holdfast/amqp'
import { expect, it } from 'vitest'
import { outboxRelay } from '../../../src/outbox/relay.ts'
import { postgresOutboxStore } from '../../../src/stores/postgres/index.ts'
import { outboxDatabase } from '../../outbox/support.ts'
import { faultProxy } from '../../support/fault-proxy.ts'
import { artemisUrl, describeWith, postgresUrl } from '../../support/services.ts'
import { isFull } from '../../support/skipped.ts'
import { testAmqp, until } from './support.ts'

const count = isFull ? 3000 : 300
// A connection that is cut again before it carried anything only makes the run long: few of them, but for the full run.
const [cuts, cutAfterMs, cutWithinMs] = isFull ? [Infinity, 40, 160] : [4, 100, 300]
const keys = 50

describeWith(['artemis', 'postgres'], 'the outbox relay to Artemis', () => {
  it.each([
    ['once, with duplicate ids', true] as const,
    ...(isFull ? [['with repeats, without them', false] as const] : []),
  ])(
    'publishes everything, each key in order, over connections that are cut again and again: %s',
    async (_, duplicateIds) => {
      const test = testAmqp(artemisUrl())
      const db = await outboxDatabase(postgresUrl())
      const proxy = await faultProxy(artemisUrl())
      const stop = new AbortController()
      try {
        const queue = test.queue()
        await db.pool.query(
          `insert into outbox (topic, key, type, message_id, payload)
           select $1, 'k' || n % ${keys}, 't', n::text, convert_to(repeat('x', 100), 'utf8')
           from generate_series(1, ${count}) n`,
          [queue],
        )
        const connection = test.connect(`amqp://${proxy.address}`, { initial_reconnect_delay: 20 })
        const publisher = amqpPublisher(connection, { duplicateIds, timeoutMs: 3000 })
        const store = postgresOutboxStore(db.pool, { schema: db.schema })
        const running = outboxRelay({ store, publisher, leaseMs: 10_000, batchRows: 100 }).run(stop.signal)
        const cutting = (async () => {
          while (!stop.signal.aborted && proxy.counts.cut < cuts) {
            await sleep(cutAfterMs + Math.random() * cutWithinMs)
            proxy.cut()
          }
        })()
        const pending = async (): Promise<number> => (await db.pool.query('select from outbox')).rowCount ?? 0
        await until('all have left', async () => (await pending()) === 0, 200_000)
        stop.abort()
        await Promise.all([running, cutting])
        expect(proxy.counts.cut).toBeGreaterThan(0)
        const arrived = (await test.arrived(queue)).map(({ id }) => Number(id))
        if (duplicateIds) expect(arrived).toHaveLength(count)
        const first = [...new Set(arrived)]
        expect(first).toHaveLength(count)
        for (let key = 0; key < keys; key++) {
          const mine = first.filter((id) => id % keys === key)
          expect(mine).toEqual(mine.toSorted((a, b) => a - b))
        }
      } finally {
        stop.abort()
        await test.dispose()
        await db.dispose()
        await proxy.dispose()
      }
    },
    300_000,
  )
})
