import { setTimeout as sleep } from 'node:timers/promises'
import { it } from 'vitest'
import { natsPublisher } from 'holdfast/nats'
import { publisherContract, type PublisherHarness } from 'holdfast/testing'
import { faultProxy } from '../../support/fault-proxy.ts'
import { isFull } from '../../support/skipped.ts'
import { describeWith, natsNewestUrl, natsUrl, uniqueName } from '../../support/services.ts'
import { testNats } from './support.ts'

const givesUpMs = 3_000

describeWith(['nats'], 'natsPublisher on real NATS', () => {
  for (const { name, run } of publisherContract(() => create(natsUrl()))) it(name, { timeout: 90_000 }, run)
})

if (isFull)
  describeWith(['nats_newest'], 'natsPublisher on the newest NATS', () => {
    for (const { name, run } of publisherContract(() => create(natsNewestUrl()))) it(name, { timeout: 90_000 }, run)
  })

async function create(url: string): Promise<PublisherHarness> {
  const test = await testNats(url)
  const proxy = await faultProxy(url)
  const { js, jsm } = await test.connect(`nats://${proxy.address}`)
  return {
    publisher: natsPublisher(js, { jsm, timeoutMs: givesUpMs }),
    async createDestination() {
      const subject = uniqueName('subject')
      await test.stream({ name: subject, subjects: [subject] })
      return subject
    },
    arrived: (subject) => test.arrived(subject),
    // No stream has this subject.
    refused: () => ({ destination: 'nowhere.at.all', body: null }),
    // All headers of a message together.
    maxHeaderBytes: 60_000,
    outages: {
      'connections are refused': {
        begin: () => proxy.refuse(),
        async end() {
          proxy.restore()
          await sleep(500)
        },
      },
      'answers are lost': {
        begin: () => proxy.dropReplies(),
        async end() {
          proxy.restore()
          // What waits for a lost answer waits for ever.
          proxy.cut()
          await sleep(500)
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
