import { it } from 'vitest'
import { postgresOutboxStore } from '../../src/stores/postgres/outbox/store.ts'
import { postgresOutbox } from '../../src/stores/postgres/outbox/outbox.ts'
import { outboxStoreContract } from '../../src/testing/contracts/outbox-store-contract.ts'
import { describeOnBoth, outboxDatabase, pause } from './support.ts'

describeOnBoth('the outbox store contract', (url) => {
  const create = async () => {
    const db = await outboxDatabase(url())
    const outbox = postgresOutbox({ schema: db.schema })
    return {
      store: postgresOutboxStore(db.pool, { schema: db.schema }),
      advance: pause,
      dispose: db.dispose,
      async begin() {
        const client = await db.connect()
        await client.query('begin')
        return {
          async add(...messages: readonly { id: string; delayMs?: number }[]) {
            await outbox.add(
              client,
              messages.map(({ delayMs, ...message }) => ({
                destination: 'orders',
                body: null,
                ...message,
                ...(delayMs === undefined ? {} : { delayUntil: Date.now() + delayMs }),
              })),
            )
          },
          commit: async () => void (await client.query('commit')),
          rollback: async () => void (await client.query('rollback')),
        }
      },
    }
  }
  for (const { name, run } of outboxStoreContract(create)) it(name, run)
})
