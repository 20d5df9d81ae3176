import { setTimeout as sleep } from 'node:timers/promises'
import { it } from 'vitest'
import { rabbitmqPublisher } from 'holdfast/rabbitmq'
import { publisherContract, type PublisherHarness } from 'holdfast/testing'
import { faultProxy } from '../../support/fault-proxy.ts'
import { isFull } from '../../support/skipped.ts'
import { describeWith, rabbitmq4Url, rabbitmqUrl } from '../../support/services.ts'
import { testRabbitmq } from './support.ts'

const givesUpMs = 3_000

describeWith(['rabbitmq'], 'rabbitmqPublisher on real RabbitMQ', () => {
  for (const { name, run } of publisherContract(() => create(rabbitmqUrl()))) it(name, { timeout: 90_000 }, run)
})

if (isFull)
  describeWith(['rabbitmq4'], 'rabbitmqPublisher on RabbitMQ 4', () => {
    for (const { name, run } of publisherContract(() => create(rabbitmq4Url()))) it(name, { timeout: 90_000 }, run)
  })

async function create(url: string): Promise<PublisherHarness> {
  const test = await testRabbitmq(url)
  const proxy = await faultProxy(url)
  const connection = await test.connect(url.replace(/@.*/, `@${proxy.address}`))
  const goOn = async (): Promise<void> => {
    proxy.restore()
    // What waits for a lost answer waits for ever.
    proxy.cut()
    await sleep(300)
  }
  return {
    publisher: rabbitmqPublisher(connection, { timeoutMs: givesUpMs }),
    createDestination: () => test.queue(),
    arrived: (queue) => test.arrived(queue),
    // No queue has this name, so the broker has nowhere to put it.
    refused: () => ({ destination: 'nowhere', body: null }),
    // AMQP's header table holds 64 KiB in all.
    maxHeaderBytes: 60_000,
    outages: {
      'connections are refused': { begin: () => proxy.refuse(), end: () => proxy.restore() },
      'the connection breaks before the answers': {
        begin() {
          proxy.dropReplies()
          setTimeout(() => proxy.cut(), 500)
        },
        end: goOn,
      },
      'answers are lost': {
        begin: () => proxy.dropReplies(),
        end: goOn,
      },
    },
    givesUpMs,
    async dispose() {
      proxy.restore()
      await test.dispose()
      await proxy.dispose()
    },
  }
}
