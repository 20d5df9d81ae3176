import { setTimeout as sleep } from 'node:timers/promises'
import { it } from 'vitest'
import { amqpPublisher } from 'holdfast/amqp'
import { publisherContract, type PublisherHarness } from 'holdfast/testing'
import { faultProxy } from '../../support/fault-proxy.ts'
import { isFull } from '../../support/skipped.ts'
import { activemqUrl, artemisUrl, describeWith } from '../../support/services.ts'
import { testAmqp } from './support.ts'

const givesUpMs = 1_500

describeWith(['artemis'], 'amqpPublisher on real Artemis', () => {
  for (const { name, run } of publisherContract(async () => ({ ...(await create(artemisUrl())), refused })))
    it(name, { timeout: 90_000 }, run)
})

// It makes every address that it is asked for, so it refuses nothing.
if (isFull)
  describeWith(['activemq'], 'amqpPublisher on ActiveMQ Classic', () => {
    for (const { name, run } of publisherContract(() => create(activemqUrl()))) it(name, { timeout: 90_000 }, run)
  })

// No queue has this name, and such addresses are not made by themselves.
function refused() {
  return { destination: 'declared.nowhere', body: null }
}

async function create(url: string): Promise<PublisherHarness> {
  const test = testAmqp(url)
  const proxy = await faultProxy(url)
  return {
    publisher: amqpPublisher(test.connect(`amqp://${proxy.address}`), { timeoutMs: givesUpMs }),
    createDestination: () => test.queue(),
    arrived: (address) => test.arrived(address),
    outages: {
      'connections are refused': { begin: () => proxy.refuse(), end: () => proxy.restore() },
      'answers are lost': {
        begin: () => proxy.dropReplies(),
        async end() {
          proxy.restore()
          // What waits for a lost answer waits for ever.
          proxy.cut()
          await sleep(300)
        },
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
