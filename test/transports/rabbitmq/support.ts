import amqp, { type Channel, type ChannelModel, type RecoveringChannelModel } from 'amqplib'
import type { Bytes, Message } from '../../../src/core/message.ts'
import { recordFrom } from '../../../src/transports/rabbitmq/codec.ts'
import { uniqueName } from '../../support/unique-name.ts'

/** Connections and queues of one test, all gone after `dispose`. */
export interface TestRabbitmq {
  /** A connection that comes back by itself, through another address where one is given. */
  connect(url?: string): Promise<RecoveringChannelModel>
  readonly direct: ChannelModel
  readonly channel: Channel
  /** A quorum queue. */
  queue(settings?: Readonly<Record<string, unknown>>): Promise<string>
  /** Takes everything that the queue has now. */
  arrived(queue: string): Promise<readonly Message<Bytes>[]>
  onDispose(work: () => Promise<unknown>): void
  dispose(): Promise<void>
}

export async function testRabbitmq(url: string): Promise<TestRabbitmq> {
  const ends: (() => Promise<unknown>)[] = []
  const direct = await amqp.connect(url)
  direct.on('error', () => {})
  const channel = await direct.createChannel()
  channel.on('error', () => {})
  return {
    direct,
    channel,
    async connect(through = url) {
      const recovery = { initialDelay: 50, maxDelay: 200 }
      const connection = await amqp.connect(withHeartbeat(through), { recovery, timeout: 2_000 })
      connection.on('error', () => {})
      ends.push(() => Promise.race([connection.close(), new Promise((resolve) => setTimeout(resolve, 500))]))
      return connection
    },
    async queue(settings = {}) {
      const name = uniqueName('queue')
      await channel.assertQueue(name, { arguments: { 'x-queue-type': 'quorum', ...settings } })
      ends.push(() => channel.deleteQueue(name))
      return name
    },
    async arrived(queue) {
      const reading = await direct.createChannel()
      const all: Message<Bytes>[] = []
      for (let raw = await reading.get(queue); raw !== false; raw = await reading.get(queue)) {
        all.push(recordFrom(raw, queue, undefined).message)
      }
      // Not acked: it goes back when the channel closes.
      await reading.close()
      return all
    },
    onDispose: (work) => void ends.push(work),
    async dispose() {
      for (const end of ends.toReversed()) await end().catch(() => {})
      await direct.close().catch(() => {})
    },
  }
}

function withHeartbeat(url: string): string {
  return url.includes('?') ? url : `${url}?heartbeat=4`
}

export async function until(what: string, isTrue: () => boolean | Promise<boolean>, withinMs = 30_000): Promise<void> {
  const deadlineMs = performance.now() + withinMs
  while (!(await isTrue())) {
    if (performance.now() > deadlineMs) throw new Error(`not within ${withinMs} ms: ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
}
