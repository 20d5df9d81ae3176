import { setTimeout as sleep } from 'node:timers/promises'
import { expect, it } from 'vitest'
import { postgresOutboxStore } from '../../../src/stores/postgres/index.ts'
import { outboxRelay } from '../../../src/outbox/relay.ts'
import { rabbitmqPublisher } from '../../../src/transports/rabbitmq/index.ts'
import { outboxDatabase } from '../../outbox/support.ts'
import { faultProxy } from '../../support/fault-proxy.ts'
import { describeWith, postgresUrl, rabbitmqUrl } from '../../support/services.ts'
import { testRabbitmq, until } from './support.ts'

describeWith(['rabbitmq', 'postgres'], 'the outbox relay to RabbitMQ', () => {
  it('publishes everything, each key in order, over connections that are cut on the way', async () => {
    const test = await testRabbitmq(rabbitmqUrl())
    const db = await outboxDatabase(postgresUrl())
    const proxy = await faultProxy(rabbitmqUrl())
    const stop = new AbortController()
    try {
      const queue = await test.queue()
      await db.pool.query(
        `insert into outbox (topic, key, type, message_id, payload)
         select $1, 'k' || n % 7, 't', n::text, convert_to(repeat('x', 100), 'utf8') from generate_series(1, 2000) n`,
        [queue],
      )
      const connection = await test.connect(rabbitmqUrl().replace(/@.*/, `@${proxy.address}`))
      const publisher = rabbitmqPublisher(connection, { timeoutMs: 5000 })
      const store = postgresOutboxStore(db.pool, { schema: db.schema })
      const running = outboxRelay({ store, publisher, leaseMs: 2000, batchRows: 100 }).run(stop.signal)
      let cuts = 0
      const arrivedSoFar = async () => (await test.channel.checkQueue(queue)).messageCount
      for (const count of [200, 600, 1200]) {
        await until(`${count} have arrived`, async () => (await arrivedSoFar()) >= count)
        cuts += proxy.connections()
        proxy.cut()
      }
      // Some arrive twice, so the count alone does not say when the last one has come.
      let before = 0
      const isStill = async (): Promise<boolean> => {
        await sleep(1500)
        const [last, now] = [before, await arrivedSoFar()]
        before = now
        return now >= 2000 && now === last
      }
      await until('all have arrived', isStill, 60_000)
      stop.abort()
      await running
      expect(cuts).toBeGreaterThan(0)
      const arrived = await test.arrived(queue)
      const first = [...new Set(arrived.map(({ id }) => Number(id)))]
      expect(first).toHaveLength(2000)
      for (let key = 0; key < 7; key++) {
        const mine = first.filter((id) => id % 7 === key)
        expect(mine).toEqual(mine.toSorted((a, b) => a - b))
      }
    } finally {
      stop.abort()
      await test.dispose()
      await db.dispose()
      await proxy.dispose()
    }
  }, 120_000)
})
