import { idempotency, pipeline, type Delivery } from 'holdfast'
import { memoryBroker, memoryConsumer, memoryIdempotencyStore, memoryOutbox, memoryOutboxStore } from 'holdfast/memory'
import { tracedCreate } from 'holdfast/tracing'
import { ProductClicked } from '../contracts.ts'
import type { ServiceName } from '../plan.ts'
import { Books } from './books.ts'
import type { Database, Wire, Write } from './ground.ts'
import { messageOf } from './message.ts'
import { ClickCounts } from './windows.ts'

export function memoryWire(seed: number): Wire {
  const broker = memoryBroker({ partitions: 8, seed })
  return {
    name: '',
    publisher: broker.publisher(),
    ordersTopic: 'orders',
    clicksTopic: 'clicks',
    async consume(groupId, topic, pipeline, concurrency) {
      const consumer = memoryConsumer({ broker, groupId, topics: [topic], pipeline, concurrency })
      const stopping = new AbortController()
      const ended = consumer.run(stopping.signal)
      return {
        crash: () => consumer.crash(),
        async stop() {
          stopping.abort()
          await ended
        },
      }
    },
    close: async () => {},
  }
}

export function memoryDatabase(): Database {
  const books = new Books()
  const counts = new ClickCounts()
  const outboxStore = memoryOutboxStore()
  const outbox = memoryOutbox({ through: tracedCreate({ system: 'memory' }) })
  const store = memoryIdempotencyStore()
  const charged = new Set<string>()
  // In memory an effect and the completion of its claim happen in one turn of the event loop: nothing dies in between.
  const write: Write = async (effect) => books.effect(effect)
  const count = async ({ message }: Delivery<{ readonly product: string }>) =>
    counts.add(message.body.product, message.timeMs)

  return {
    name: '',
    outboxStore,
    async place(orders, topic) {
      const tx = outboxStore.begin()
      await outbox.add(
        tx,
        orders.map((placed) => messageOf(placed, topic)),
      )
      for (const placed of orders) books.place(placed)
      tx.commit()
    },
    deadLetters: {
      async publish(messages) {
        for (const { destination, id } of messages) books.letter(destination as ServiceName, id)
      },
    },
    async charge(effect, key) {
      if (key !== undefined && charged.has(key)) return
      if (key !== undefined) charged.add(key)
      const [oldest] = charged.size > 10_000 ? charged : []
      if (oldest !== undefined) charged.delete(oldest)
      books.effect(effect)
    },
    connect: () => ({
      store,
      concurrency: 32,
      finish: (stack, handler) => stack.handle((delivery) => handler(delivery, write)),
      write,
      close: async () => {},
    }),
    clicks: (naive) =>
      naive
        ? pipeline('window').decode(ProductClicked).handle(count)
        : pipeline('window')
            .decode(ProductClicked)
            .use(idempotency({ store, retainMs: 600_000 }))
            .handle(count),
    recentClicks: async () => counts.recent(),
    figures: async () => books.figures(counts.total),
    close: async () => {},
  }
}
