import { pulsarClient, pulsarConsumer } from 'holdfast/pulsar'
import type { Bytes, Message } from '../../../src/core/message.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import type { PulsarClient } from '../../../src/transports/pulsar/client.ts'
import type { FaultProxy } from '../../support/fault-proxy.ts'
import { pulsarThrough } from '../../support/pulsar-through.ts'
import { pulsarUrl, serviceAddress, uniqueName } from '../../support/services.ts'

/** The web service of the broker. */
export function pulsarWeb(): string {
  return serviceAddress('pulsar').also['web'] ?? ''
}

/** A client that finds its broker behind a proxy. */
export function clientThrough({ address }: FaultProxy): PulsarClient {
  return pulsarThrough(address)
}

/** What a topic has now, read by a subscription of its own from its beginning. */
export async function arrivedAt(topic: string, serviceUrl: string = pulsarUrl()): Promise<readonly Message<Bytes>[]> {
  const client = pulsarClient({ serviceUrl })
  const all: Message<Bytes>[] = []
  let lastMs = performance.now()
  const reading = pipeline('reading').handle(({ message }) => {
    all.push(message)
    lastMs = performance.now()
  })
  const stop = new AbortController()
  const consumer = pulsarConsumer({
    client,
    topics: [topic],
    subscription: uniqueName('all'),
    pipeline: reading,
    concurrency: 1,
  })
  const running = consumer.run(stop.signal)
  while (!(consumer.health().ready && performance.now() - lastMs > 400)) {
    if (!consumer.health().ready) lastMs = performance.now()
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  stop.abort()
  await running
  client.close()
  return all
}
