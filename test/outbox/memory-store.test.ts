import { describe, it } from 'vitest'
import { memoryOutbox, memoryOutboxStore } from '../../src/outbox/memory-store.ts'
import { fakeClock } from '../../src/testing/fake-clock.ts'
import { outboxStoreContract } from '../../src/testing/contracts/outbox-store-contract.ts'

describe('the outbox store contract, in memory', () => {
  const create = () => {
    const clock = fakeClock()
    const store = memoryOutboxStore({ clock })
    const outbox = memoryOutbox()
    return {
      store,
      advance: clock.advance,
      begin() {
        const tx = store.begin()
        return {
          async add(...messages: readonly { id: string; delayMs?: number }[]) {
            await outbox.add(
              tx,
              messages.map(({ delayMs, ...message }) => ({
                destination: 'orders',
                body: null,
                ...message,
                ...(delayMs === undefined ? {} : { delayUntil: clock.wall() + delayMs }),
              })),
            )
          },
          commit: () => Promise.resolve(tx.commit()),
          rollback: () => Promise.resolve(tx.rollback()),
        }
      },
    }
  }
  for (const { name, run } of outboxStoreContract(create)) it(name, run)
})
