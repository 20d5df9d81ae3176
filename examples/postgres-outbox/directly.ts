import { outgoing, type Publisher } from 'holdfast'
import type { Outbox } from 'holdfast/outbox'

/**
 * In the place of an outbox: publishes at once, inside the transaction, and forgets what fails. So it is often done by hand.
 * What is rolled back was published, and what could not be published is lost.
 */
export function publishedDirectly<Tx, Body>(wire: Publisher): Outbox<Tx, Body> {
  return {
    async add(_, added) {
      const messages = [added]
        .flat()
        .map(({ destination, key = null, body }) =>
          outgoing({ destination, key, body: Buffer.from(JSON.stringify(body)) }),
        )
      await wire.publish(messages).catch(() => {})
      return messages.map(({ id }) => id)
    },
  }
}
