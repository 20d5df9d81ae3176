import { expect, it } from 'vitest'
import { pipeline, type Middleware } from 'holdfast'
import { natsConsumer, numberedPartitions } from 'holdfast/nats'
import { timeout } from 'holdfast/policies'
import { rabbitmqConsumer } from 'holdfast/rabbitmq'
import { staged } from '../../src/core/delivery.ts'

const nothing = (): never => {
  throw new Error('nothing is connected')
}
const clients = {
  rabbitmqConsumer: (options: { pipeline: ReturnType<typeof slow>; concurrency?: number; drainMs?: number }) =>
    rabbitmqConsumer({
      connection: { createChannel: nothing, on: nothing, removeListener: nothing },
      queues: ['orders'],
      ...options,
    }),
  natsConsumer: (options: { pipeline: ReturnType<typeof slow>; concurrency?: number; drainMs?: number }) =>
    natsConsumer({
      nc: { request: nothing },
      js: { consumers: {} as never },
      jsm: { consumers: {} as never, streams: {} as never },
      kv: { get: nothing, create: nothing, update: nothing, put: nothing, keys: nothing, delete: nothing },
      stream: 'orders',
      group: 'billing',
      partitions: numberedPartitions('orders', 2),
      ...options,
    }),
}

const pooled: Middleware = staged((next) => next, {
  name: 'transaction',
  facts: { poolSize: 10 },
})
const slow = (afterMs: number) =>
  pipeline('orders')
    .use(timeout({ afterMs }))
    .use(pooled)
    .handle(() => {})

for (const [name, make] of Object.entries(clients))
  it(`${name} refuses a concurrency above the transaction's pool, and a time to drain below the time-out`, () => {
    expect(() => make({ pipeline: slow(5000), concurrency: 10 })).not.toThrow()
    expect(() => make({ pipeline: slow(5000) })).toThrow(`${name}: concurrency (64) must not exceed`)
    expect(() => make({ pipeline: slow(5000), concurrency: 10, drainMs: 4000 })).toThrow(
      `${name}: drainMs (4000) must be at least the pipeline's timeout (5000)`,
    )
  })
