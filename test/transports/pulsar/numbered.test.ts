import { pulsarClient, pulsarPublisher, type PulsarPublisher } from 'holdfast/pulsar'
import { afterEach, describe, expect, it } from 'vitest'
import { outgoing, type Outgoing } from '../../../src/core/publisher.ts'
import type { Command } from '../../../src/transports/pulsar/protocol/commands.ts'
import { until } from '../rabbitmq/support.ts'
import { fakeBroker, type FakeBroker, type Reply } from './fake-broker.ts'

const checksumError = 9
const producerBusy = 16

const closing: { close(): unknown }[] = []
afterEach(() => {
  for (const one of closing.splice(0)) one.close()
})

/** Deduplicates as Pulsar does: of each producer's name, it stores what is above the highest number. */
class Topic {
  readonly stored: { readonly topic: string; readonly name: string; readonly number: number }[] = []
  readonly #highest = new Map<string, number>()
  readonly #producers = new Map<string, { readonly topic: string; readonly name: string; readonly reply: Reply }>()
  partitions = 0
  /** What comes instead of a receipt. */
  instead: (number: number, reply: Reply, producerId: number) => 'receipt' | 'nothing' | 'refused' = () => 'receipt'

  readonly broker: Promise<FakeBroker> = fakeBroker((command, reply) => {
    const { name, value } = command
    if (name === 'partitions')
      return sent(reply('partitionsAnswer', { requestId: value.requestId, partitions: this.partitions, response: 0 }))
    if (name === 'closeProducer') this.#producers.delete(keyOf(reply, value.producerId))
    if (name === 'producer') return this.#produce(value, reply)
    if (name === 'send') return this.#send(value.producerId ?? 0, value.sequenceId ?? 0, reply)
    return false
  })

  #produce({ topic = '', producerName = '', producerId, requestId }: Command<'producer'>, reply: Reply): boolean {
    const isTaken = [...this.#producers.values()].some(
      (other) => other.name === producerName && other.topic === topic && !other.reply.socket.destroyed,
    )
    if (isTaken) return sent(reply('error', { requestId, error: producerBusy, message: 'already connected' }))
    this.#producers.set(keyOf(reply, producerId), { topic, name: producerName, reply })
    const lastSequenceId = this.#highest.get(`${topic} ${producerName}`) ?? -1
    return sent(reply('producerSuccess', { requestId, producerName, lastSequenceId, isReady: true }))
  }

  #send(producerId: number, number: number, reply: Reply): boolean {
    const { topic = '', name = '' } = this.#producers.get(keyOf(reply, producerId)) ?? {}
    const highest = this.#highest.get(`${topic} ${name}`) ?? -1
    const instead = this.instead(number, reply, producerId)
    if (instead === 'refused')
      return sent(reply('sendError', { producerId, sequenceId: number, error: checksumError, message: 'bad' }))
    const isNew = number > highest
    if (isNew) {
      this.#highest.set(`${topic} ${name}`, number)
      this.stored.push({ topic, name, number })
    }
    const messageId = isNew ? { ledgerId: 1, entryId: this.stored.length } : { ledgerId: -1, entryId: -1 }
    if (instead === 'receipt') reply('sendReceipt', { producerId, sequenceId: number, messageId })
    return true
  }

  async publisher(timeoutMs = 2_000): Promise<PulsarPublisher> {
    const broker = await this.broker
    const client = pulsarClient({ serviceUrl: broker.url, requestMs: 1_000 })
    closing.push(client, broker)
    return pulsarPublisher(client, { timeoutMs })
  }

  numbers(): readonly number[] {
    return this.stored.map(({ number }) => number)
  }
}

const sent = (_: void): true => true
const keyOf = ({ socket }: Reply, producerId: number | undefined): string => `${socket.remotePort}/${producerId}`

function numbered(from: number, to: number, parts: Partial<Outgoing> = {}): readonly Outgoing[] {
  return Array.from({ length: to - from + 1 }, (_, at) => ({
    ...outgoing({ destination: 'orders', id: `m${from + at}`, key: 'k', body: null, ...parts }),
    sequence: { source: 'outbox/1/0/1', number: from + at },
  }))
}

describe('numbered messages', () => {
  it('are stored once by a publisher that dies before the receipts and the one that follows it', async () => {
    const topic = new Topic()
    topic.instead = () => 'nothing'
    const first = await topic.publisher(300)
    const dying = first.publish(numbered(1, 5))
    await until('they are there', () => topic.stored.length === 5)
    for (const socket of (await topic.broker).sockets) socket.destroy()
    closing[0]?.close()
    await expect(dying).rejects.toMatchObject({ code: 'unavailable' })
    topic.instead = () => 'receipt'
    await (await topic.publisher()).publish(numbered(1, 8))
    expect(topic.numbers()).toEqual([1, 2, 3, 4, 5, 6, 7, 8])
  })

  it('have one name for their source, and go on with it over lost connections', async () => {
    const topic = new Topic()
    const publisher = await topic.publisher()
    await publisher.publish(numbered(1, 3))
    for (const socket of (await topic.broker).sockets) socket.destroy()
    await publisher.publish(numbered(4, 6))
    expect(new Set(topic.stored.map(({ name }) => name))).toEqual(new Set(['holdfast/outbox/1/0/1/0']))
    expect(topic.numbers()).toEqual([1, 2, 3, 4, 5, 6])
  })

  it('are repeated by the same publisher after an outage, and stored once', async () => {
    const topic = new Topic()
    const publisher = await topic.publisher(300)
    topic.instead = (number) => (number > 3 ? 'nothing' : 'receipt')
    await expect(publisher.publish(numbered(1, 5))).rejects.toMatchObject({ code: 'unavailable' })
    topic.instead = () => 'receipt'
    await publisher.publish(numbered(1, 5))
    expect(topic.numbers()).toEqual([1, 2, 3, 4, 5])
  })

  it('P-2: whose number goes back are refused before the broker drops them, and said so', async () => {
    const topic = new Topic()
    const publisher = await topic.publisher()
    await publisher.publish(numbered(1, 2))
    await publisher.publish(numbered(4, 4))
    await expect(publisher.publish(numbered(3, 3))).rejects.toThrow(/SequenceWentBack: message 3 of holdfast\/outbox/)
    expect((await topic.broker).of('send')).toHaveLength(3)
    await publisher.publish(numbered(5, 5))
    expect(topic.numbers()).toEqual([1, 2, 4, 5])
  })

  it('P-2: that another process of the name passed are told by their receipts', async () => {
    const topic = new Topic()
    const publisher = await topic.publisher()
    await publisher.publish(numbered(1, 1))
    topic.instead = (number, reply, producerId) => {
      reply('sendReceipt', { producerId, sequenceId: number, messageId: { ledgerId: -1, entryId: -1 } })
      return 'nothing'
    }
    await expect(publisher.publish(numbered(2, 2))).rejects.toThrow(/SequenceWentBack/)
  })

  it('wait for a name that another process has, until that has nothing to send', async () => {
    const topic = new Topic()
    const [first, second] = [await topic.publisher(5_000), await topic.publisher(5_000)]
    await first.publish(numbered(1, 2))
    await second.publish(numbered(3, 4))
    await first.publish(numbered(5, 6))
    expect(topic.numbers()).toEqual([1, 2, 3, 4, 5, 6])
    expect(new Set(topic.stored.map(({ name }) => name)).size).toBe(1)
  })

  it('begin again under another name where the broker got other bytes, since it has later numbers', async () => {
    const topic = new Topic()
    const publisher = await topic.publisher()
    let isBad = true
    topic.instead = (number) => (number === 2 && isBad ? 'refused' : 'receipt')
    await expect(publisher.publish(numbered(1, 3))).rejects.toThrow(/ChecksumError/)
    isBad = false
    await publisher.publish(numbered(1, 3))
    // Some twice, and none of them lost.
    expect(new Set(topic.numbers())).toEqual(new Set([1, 2, 3]))
  })

  it('are asked again where the broker does not know yet whether it has them', async () => {
    const topic = new Topic()
    const publisher = await topic.publisher()
    let undecided = 2
    topic.instead = (number, reply, producerId) => {
      if (number !== 2 || undecided-- <= 0) return 'receipt'
      const message = 'Cannot determine whether the message is a duplicate at this time'
      reply('sendError', { producerId, sequenceId: number, error: 0, message })
      return 'nothing'
    }
    await publisher.publish(numbered(1, 3))
    expect(topic.numbers()).toEqual([1, 2, 3])
    expect((await topic.broker).of('send').map(({ sequenceId }) => sequenceId)).toEqual([1, 2, 3, 2, 2])
  })

  it('go to the same partition when they are repeated, also without a key', async () => {
    const topic = new Topic()
    topic.partitions = 3
    for (let time = 0; time < 2; time++) {
      const publisher = await topic.publisher()
      await publisher.publish(numbered(1, 30, { key: null }))
      await publisher.close()
    }
    expect(topic.stored).toHaveLength(30)
    expect(new Set(topic.stored.map((each) => each.topic)).size).toBe(3)
  })

  it('begin again under another name when the number of partitions changes: a key may move to where later ones are', async () => {
    const topic = new Topic()
    topic.partitions = 2
    await (await topic.publisher()).publish(numbered(1, 6, { key: null }))
    topic.partitions = 3
    await (await topic.publisher()).publish(numbered(7, 12, { key: null }))
    expect(new Set(topic.stored.map(({ name }) => name)).size).toBe(2)
    expect(topic.stored).toHaveLength(12)
  })
})

describe('messages without numbers', () => {
  it('P-7: that are too large with their headers are refused before the connection is lost', async () => {
    const broker = await fakeBroker((command, reply) => {
      if (command.name !== 'connect') return false
      reply('connected', { serverVersion: 'fake', protocolVersion: 19, maxMessageSize: 10_000 })
      return true
    })
    closing.push(broker)
    const client = pulsarClient({ serviceUrl: broker.url })
    closing.push(client)
    const message = (id: string, bytes: number, headerBytes: number): Outgoing =>
      outgoing({ destination: 'orders', id, body: Buffer.alloc(bytes), headers: { big: 'x'.repeat(headerBytes) } })
    const messages = [
      message('fits', 9_000, 0),
      message('body', 10_000, 0),
      message('headers', 5_000, 5_000),
      message('fits too', 0, 9_000),
    ]
    await expect(pulsarPublisher(client).publish(messages)).rejects.toMatchObject({
      code: 'publish-failed',
      failures: [
        { index: 1, permanent: true },
        { index: 2, permanent: true },
      ],
    })
    expect(broker.of('send')).toHaveLength(2)
  })

  it('take another name where the broker still holds theirs', async () => {
    const names: string[] = []
    const broker = await fakeBroker((command, reply) => {
      if (command.name !== 'producer') return false
      names.push(command.value.producerName ?? '')
      if (names.length > 1) return false
      reply('error', { requestId: command.value.requestId, error: producerBusy, message: 'already connected' })
      return true
    })
    closing.push(broker)
    const client = pulsarClient({ serviceUrl: broker.url })
    closing.push(client)
    await pulsarPublisher(client).publish([outgoing({ destination: 'orders', body: null })])
    expect(new Set(names).size).toBe(2)
  })
})
