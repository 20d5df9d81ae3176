import { checkArgument, having } from '../core/options.ts'
import type { Publisher } from '../core/publisher.ts'
import { isDeadLetterStore, type DeadLetterStore } from './store.ts'

/**
 * Publishes to the first, then to the second, and resolves when both have confirmed: `both(topic, table)`. While one is
 * down the pipeline waits, and both get the message again. A table merges the repeat; a topic keeps it.
 */
export function both(first: Publisher, second: Publisher): DeadLetterStore {
  checkArgument('both', 'first', first, having('publish'))
  checkArgument('both', 'second', second, having('publish'))
  return {
    async publish(messages, options) {
      await first.publish(messages, options)
      await second.publish(messages, options)
    },
    async resolved(letters, options) {
      for (const target of [first, second]) if (isDeadLetterStore(target)) await target.resolved(letters, options)
    },
  }
}
