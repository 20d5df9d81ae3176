import { pulsarClient, pulsarConsumer } from 'holdfast/pulsar'
import type { Bytes, Message } from '../../../src/core/message.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import type { PulsarClient } from '../../../src/transports/pulsar/client.ts'
import { Connection } from '../../../src/transports/pulsar/protocol/connection.ts'
import { systemClock } from '../../../src/core/clock.ts'
import type { FaultProxy } from '../../support/fault-proxy.ts'
import { pulsarUrl, uniqueName } from '../../support/services.ts'

/** A client that finds its broker behind a proxy: a lookup names the broker's own address. */
export function clientThrough({ port }: FaultProxy): PulsarClient {
  let connection: Connection | undefined
  const clock = systemClock
  async function connected(): Promise<Connection> {
    if (connection === undefined || connection.error !== undefined)
      connection = new Connection({
        ...{ host: '127.0.0.1', port, tls: undefined, auth: undefined, keepAliveMs: 10_000, requestMs: 2_000, clock },
      })
    await connection.ready
    return connection
  }
  return {
    async connectionFor(topic) {
      const found = await connected()
      await found.request('lookup', { topic: `persistent://public/default/${topic}` })
      return found
    },
    partitionsOf: () => connected().then(() => 0),
    close: () => connection?.close(),
  }
}

/** What a topic has now, read by a subscription of its own from its beginning. */
export async function arrivedAt(topic: string): Promise<readonly Message<Bytes>[]> {
  const client = pulsarClient({ serviceUrl: pulsarUrl() })
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
