import { setTimeout as sleep } from 'node:timers/promises'
import { connect, type ConnectionOptions, type NatsConnection } from '@nats-io/transport-node'
import {
  jetstream,
  jetstreamManager,
  type JetStreamClient,
  type JetStreamManager,
  type StreamConfig,
} from '@nats-io/jetstream'
import { Kvm, type KV } from '@nats-io/kv'
import type { Bytes, Message } from '../../../src/core/message.ts'
import { messageFrom } from '../../../src/transports/jetstream/codec.ts'
import { uniqueName } from '../../support/unique-name.ts'

/** Connections, streams and a bucket of one test, all gone after `dispose`. */
export interface TestNats {
  readonly nc: NatsConnection
  readonly js: JetStreamClient
  readonly jsm: JetStreamManager
  readonly kv: KV
  /** A connection of its own, through another address where one is given. */
  connect(
    url?: string,
    options?: Partial<ConnectionOptions>,
  ): Promise<{
    readonly nc: NatsConnection
    readonly js: JetStreamClient
    readonly jsm: JetStreamManager
    readonly kv: KV
  }>
  /** A stream with the subjects `<name>.*`, or as the settings say. */
  stream(settings?: Partial<StreamConfig>): Promise<string>
  /** Everything that a stream has now. */
  arrived(stream: string): Promise<readonly Message<Bytes>[]>
  onDispose(work: () => Promise<unknown>): void
  dispose(): Promise<void>
}

export async function testNats(url: string): Promise<TestNats> {
  const ends: (() => Promise<unknown>)[] = []
  const nc = await connect({ servers: url })
  const js = jetstream(nc)
  const jsm = await jetstreamManager(nc)
  const bucket = uniqueName('leases')
  const kv = await createBucket(js, bucket)
  ends.push(() => jsm.streams.delete(`KV_${bucket}`))
  return {
    nc,
    js,
    jsm,
    kv,
    async connect(through = url, options = {}) {
      const own = await connect({
        servers: through,
        maxReconnectAttempts: -1,
        reconnectTimeWait: 50,
        ignoreClusterUpdates: true,
        noAsyncTraces: true,
        ...options,
      })
      ends.push(() => Promise.race([own.close(), new Promise((resolve) => setTimeout(resolve, 500))]))
      const ownJs = jetstream(own, { timeout: 2_000 })
      return {
        nc: own,
        js: ownJs,
        jsm: await jetstreamManager(own, { timeout: 2_000, checkAPI: false }),
        kv: await new Kvm(ownJs).open(bucket),
      }
    },
    async stream(settings = {}) {
      const name = settings.name ?? uniqueName('stream')
      await jsm.streams.add({ subjects: [`${name}.*`], ...settings, name })
      ends.push(() => jsm.streams.delete(name))
      return name
    },
    async arrived(stream) {
      const { state } = await jsm.streams.info(stream)
      const { name } = await jsm.consumers.add(stream, { ack_policy: 'none', deliver_policy: 'all' })
      const consumer = await js.consumers.get(stream, name)
      const all: Message<Bytes>[] = []
      while (all.length < state.messages) {
        const raw = await consumer.next({ expires: 1_000 })
        if (raw === null) break
        const { id = '', ...rest } = messageFrom(raw)
        all.push({ id, ...rest })
      }
      await jsm.consumers.delete(stream, name)
      return all
    },
    onDispose: (work) => void ends.push(work),
    async dispose() {
      for (const end of ends.toReversed()) await end().catch(() => {})
      await nc.close()
    },
  }
}

/** A server that has just removed other streams may say that it cannot create the store. */
async function createBucket(js: JetStreamClient, name: string): Promise<KV> {
  for (let tries = 1; ; tries++)
    try {
      return await new Kvm(js).create(name)
    } catch (error) {
      if (tries === 5) throw error
      await sleep(200)
    }
}
