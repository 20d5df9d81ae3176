import { setTimeout as sleep } from 'node:timers/promises'
import { pulsarClient, pulsarConsumer } from 'holdfast/pulsar'
import { afterEach, describe, expect, it } from 'vitest'
import type { Ownership, QueueHost } from '../../../src/consumer/queue/queue-client.ts'
import { systemClock } from '../../../src/core/clock.ts'
import { pipeline } from '../../../src/core/pipeline.ts'
import type { PulsarRecord } from '../../../src/transports/pulsar/attachment.ts'
import type { PulsarClient } from '../../../src/transports/pulsar/client.ts'
import type { Command, CommandName } from '../../../src/transports/pulsar/protocol/commands.ts'
import { sendFrame } from '../../../src/transports/pulsar/protocol/frames.ts'
import { TopicLink } from '../../../src/transports/pulsar/topic-link.ts'
import { until } from '../rabbitmq/support.ts'
import { deliveryFrame, fakeBroker, type FakeBroker, type Reply } from './fake-broker.ts'

let broker: FakeBroker
let client: PulsarClient
let stop: AbortController

/** A broker that answers the commands of these names in its own way, and a client of it. */
async function begin(answers: { readonly [N in CommandName]?: (value: Command<N>, reply: Reply) => void }) {
  broker = await fakeBroker(({ name, value }, reply) => {
    const answer = answers[name] as ((value: unknown, reply: Reply) => void) | undefined
    answer?.(value, reply)
    return answer !== undefined
  })
  client = pulsarClient({ serviceUrl: broker.url, requestMs: 1_000 })
  stop = new AbortController()
}

afterEach(() => {
  stop.abort()
  client.close()
  broker.close()
})

function consume(handle: (id: string) => void = () => {}) {
  const consumer = pulsarConsumer({
    ...{ client, subscription: 'billing', topics: ['orders'], drainMs: 100 },
    pipeline: pipeline('orders').handle(({ message }) => handle(message.id)),
  })
  const running = consumer.run(stop.signal)
  return { consumer, running }
}

/** A message without an id. */
function entry({ socket }: Reply, consumerId: number | undefined, entryId: number): void {
  const sent = sendFrame({ producerId: 0, sequenceId: 0, messages: 1 }, { partitionKey: 'k' }, Buffer.from('x'))
  const message = sent.subarray(8 + sent.readUInt32BE(4))
  socket.write(deliveryFrame({ consumerId, messageId: { ledgerId: 1, entryId } }, message))
}

function subscribedWithOne({ requestId, consumerId }: Command<'subscribe'>, reply: Reply): void {
  reply('success', { requestId })
  setTimeout(() => entry(reply, consumerId, 1), 20)
}

describe('one topic of a consumer', () => {
  it('P-15: begins one attempt where the socket dies while the subscribe is under way', async () => {
    let deaths = 0
    await begin({
      subscribe({ requestId }, reply) {
        if (deaths++ < 3) reply.socket.resetAndDestroy()
        else reply('success', { requestId })
      },
    })
    const { consumer } = consume()
    await until('it is there', () => consumer.health().ready)
    // A second owner would have subscribed by now.
    await sleep(300)
    const ids = broker.of('subscribe').map(({ consumerId }) => consumerId)
    expect(ids).toHaveLength(4)
    expect(new Set(ids).size).toBe(4)
  })

  it('P-15: gives back what the broker may have subscribed although its answer never came', async () => {
    let count = 0
    await begin({ subscribe: ({ requestId }, reply) => void (++count > 1 && reply('success', { requestId })) })
    const { consumer } = consume()
    await until('it is there', () => consumer.health().ready)
    const [first] = broker.of('subscribe')
    expect(broker.of('closeConsumer').map(({ consumerId }) => consumerId)).toEqual([first?.consumerId])
  })

  it('P-15: ends a consumer that gets messages for an ownership that is over, since its broker would wait for their acks', async () => {
    const over = { source: 'orders', isOver: true, isLeaving: false, isActive: false, deliver: () => false }
    const losses: string[] = []
    const lost = (error: Error): void => void losses.push(error.message)
    const host: QueueHost<PulsarRecord> = {
      own: () => ({ ...over, lost, handOver: () => Promise.resolve() }) satisfies Ownership<PulsarRecord>,
      failed: () => {},
      report: () => {},
    }
    await begin({ subscribe: subscribedWithOne })
    const options = {
      client,
      topic: 'orders',
      subscription: 'billing',
      type: 'Key_Shared',
      startFrom: 'earliest',
    } as const
    const link = new TopicLink({ ...options, id: undefined, note: () => {}, host, clock: systemClock })
    void link.run(stop.signal)
    await until('it was closed and subscribed again', () => broker.of('subscribe').length > 1)
    const [first] = broker.of('subscribe')
    expect(broker.of('closeConsumer')[0]?.consumerId).toBe(first?.consumerId)
    expect(losses[0]).toMatch(/a message came for an ownership that is over/)
  })

  it('subscribes again where the broker closes the consumer, and acks nothing on the new one for the old', async () => {
    const done: string[] = []
    const first = (): number | undefined => broker.of('subscribe')[0]?.consumerId
    await begin({
      subscribe: subscribedWithOne,
      // The ack is not answered before the broker closes the consumer.
      ack({ consumerId, requestId }, reply) {
        if (consumerId === first()) reply('closeConsumer', { consumerId })
        else reply('ackAnswer', { consumerId, requestId })
      },
    })
    const { consumer } = consume((id) => void done.push(id))
    await until('it came again', () => done.length === 2 && broker.of('ack').length === 2)
    await until('it is ready', () => consumer.health().ready)
    const acks = broker.of('ack').map(({ consumerId }) => consumerId)
    const subscribed = broker.of('subscribe').map(({ consumerId }) => consumerId)
    expect(acks).toEqual(subscribed)
  })

  it('P-11: gives permits as messages are done, never for those that wait', async () => {
    let wire: Reply | undefined
    await begin({
      subscribe({ requestId }, reply) {
        wire = reply
        reply('success', { requestId })
      },
    })
    const { consumer } = consume()
    await until('it is ready', () => consumer.health().ready)
    const permits = (): number => broker.of('flow').reduce((sum, each) => sum + (each.permits ?? 0), 0)
    await until('the first', () => permits() === 256)
    const consumerId = broker.of('subscribe')[0]?.consumerId
    if (wire !== undefined) for (let n = 0; n < 200; n++) entry(wire, consumerId, n)
    await until('all are acked', () => broker.of('ack').flatMap(({ messageIds = [] }) => messageIds).length === 200)
    expect(permits()).toBeGreaterThan(256)
    expect(permits()).toBeLessThanOrEqual(256 + 200)
  })

  it('rejects at once for what will never be let in', async () => {
    const authorization = 4
    await begin({
      subscribe: ({ requestId }, reply) =>
        reply('error', { requestId, error: authorization, message: 'billing may not read orders' }),
    })
    await expect(consume().running).rejects.toThrow(/AuthorizationError: billing may not read orders/)
  })

  it('says in health() that messages have no id, and handles them under their place', async () => {
    const done: string[] = []
    await begin({ subscribe: subscribedWithOne })
    const { consumer } = consume((id) => void done.push(id))
    await until('it was handled', () => done.length === 1)
    expect(done).toEqual(['orders/1/1'])
    expect(consumer.health().details['notes']).toEqual([
      expect.stringMatching(/^topic orders has messages without an id: .*Set the property message-id when publishing$/),
    ])
  })
})
