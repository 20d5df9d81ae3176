import { BaseSequencer, type TestSpecification } from 'vitest/node'

/** Those that take the longest, in an order that has some who work and some who wait beside each other. */
export const long: readonly string[] = [
  'examples/coffee-store/demo.int',
  'outbox/ledger.int',
  'transports/platformatic-kafka/contract.int',
  'package/modules',
  'transports/kafkajs/contract.int',
  'examples/saga.int',
  'package/package',
  'transports/platformatic-kafka/rebalance.int',
  'examples/coffee-store/page.int',
  'package/docs',
  'examples/coffee-store/page-browser.int',
  'testing/planted-bugs',
  'transports/amqp/outbox.int',
  'package/oldest-node',
  'transports/jetstream/contract.int',
  'examples/coffee-store/page',
  'examples/event-sourcing.int',
  'examples/coffee-store/demo',
  'stores/postgres/idempotency-store.int',
  'outbox/order.int',
  'outbox/relay.int',
  'examples/examples',
]

/** Begins with the long files of all projects, so that none of them runs alone at the end. */
export class LongFirst extends BaseSequencer {
  override async sort(files: TestSpecification[]): Promise<TestSpecification[]> {
    const rank = ({ moduleId }: TestSpecification) => {
      const at = long.findIndex((name) => moduleId.endsWith(`/test/${name}.test.ts`))
      return at < 0 ? long.length : at
    }
    return (await super.sort(files)).sort((a, b) => rank(a) - rank(b))
  }
}
